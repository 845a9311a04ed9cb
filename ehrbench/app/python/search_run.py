"""A finished run, for Python: its figures as DataFrames, its page in a notebook, its bundle."""

from __future__ import annotations

import html
import json
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehrbench.core.places import home
from ehrbench.core.run_folder import PREDICTIONS, REPORT, SUMMARY, TRIALS, RunFolder

if TYPE_CHECKING:
    import pandas as pd

    from ehrbench.app.python.predictor import Predictor

#: Pixels of a page in a notebook.
HEIGHT = 800


@dataclass(frozen=True)
class SearchRun:
    """What a search left in its folder; nothing is kept open, and nothing changes it."""

    folder: RunFolder

    @staticmethod
    def open(folder: str | Path) -> SearchRun:
        """Raises BundleError where there is no finished run."""
        return SearchRun(RunFolder.open(home(folder, "run")))

    def __repr__(self) -> str:
        return f"SearchRun({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run's folder (what stands in it: ``ehrbench.core.run_folder``)."""
        return self.folder.path

    @property
    def bundle(self) -> Path:
        """The folder of the winner, for ``ehrbench.load`` and ``ehrbench serve``."""
        return self.folder.bundle

    @cached_property
    def summary(self) -> dict[str, Any]:
        """``summary.json`` (its schema: ``ehrbench.app.runs.outputs``)."""
        content: dict[str, Any] = json.loads((self.folder / SUMMARY).read_text(encoding="utf-8"))
        return content

    @property
    def leaderboard(self) -> pd.DataFrame:
        """One row a model, best first: of each metric its mean over outer tests and the ends of its interval.

        Columns ``auroc``, ``auroc_low``, ``auroc_high``, …, the searched metric first; NaN where a metric has
        no value.
        """
        import pandas as pd

        from ehrbench import metrics
        from ehrbench.statistics.evaluation import by_model

        models = self.summary["models"]
        order = [name for name, _ in by_model(models, metrics.load(self.summary["metric"]))]
        rows = []
        for name in order:
            row = {}
            for metric, result in models[name].items():
                interval = result.get("interval") or {}
                row[metric] = result.get("mean")
                row |= {f"{metric}_{end}": interval.get(end) for end in ("low", "high")}
            rows.append(row)
        return pd.DataFrame(rows, index=pd.Index(order, name="model"), dtype=float)

    @property
    def predictions(self) -> pd.DataFrame:
        """Of outer tests: record, unit, class, label (NaN: unknown), outer_fold, model, probability."""
        return self._table(PREDICTIONS)

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial (columns: ``ehrbench.core.run_folder``)."""
        return self._table(TRIALS)

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd

        texts: dict[Hashable, type[str]] = dict.fromkeys(("record", "class", "outer_fold"), str)
        unknown = {"label": [""], "value": [""]}
        return pd.read_csv(self.folder / name, dtype=texts, keep_default_na=False, na_values=unknown)

    def load(self, threads: int = 1) -> Predictor:
        """The winner, ready to predict."""
        from ehrbench.app.python.predictor import Predictor

        return Predictor.load(self.bundle, threads)

    def show(self, height: int = HEIGHT) -> ShownPage:
        """The run's page, which a notebook shows inline, ``height`` pixels high."""
        return ShownPage(self.folder / REPORT, height)


@dataclass(frozen=True)
class ShownPage:
    """A page that a notebook shows in a frame of its own, so that neither's style touches the other's."""

    path: Path
    height: int

    def _repr_html_(self) -> str:
        page = html.escape(self.path.read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{page}" width="100%" height="{self.height}" style="border: 0"></iframe>'

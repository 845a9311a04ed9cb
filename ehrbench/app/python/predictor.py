"""A bundle as scikit-learn has its classifiers: ``predict_proba``, ``predict``, ``classes_``.

Records come as a DataFrame, as JSON (a mapping, or a sequence of them), or as files of the publisher's form;
they go through the task's ``parse``, as the server's do. Nothing is fitted: what fits and clones a bundle, as
scikit-learn's tools do with what they are given, gets the bundle itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ehrbench.app.python.asking import as_parquet
from ehrbench.core.errors import DataError
from ehrbench.core.records import Records
from ehrbench.core.task import Parsed, RawInput
from ehrbench.core.types import BoolArray, FloatArray
from ehrbench.runtime.bundle import Bundle, Prediction
from ehrbench.tasks.numbers import of_text
from ehrbench.tasks.own_table import OwnTable
from ehrbench.tasks.raw_files import parse_files

if TYPE_CHECKING:
    import pandas as pd

    #: What can be predicted.
    Rows = pd.DataFrame | Mapping[str, Any] | Sequence[Mapping[str, Any]] | str | Path | Sequence[str | Path]

_REMEDY = "give a DataFrame, records as mappings, or the path of a file or folder"


@dataclass(frozen=True)
class Predictor:
    """Made by ``ehrbench.load``; immutable, and safe to share between threads.

    Rows of what it returns are units (one a record in most tasks), in the order of the records.
    """

    bundle: Bundle

    @staticmethod
    def load(folder: str | Path, threads: int = 1) -> Predictor:
        """Opened, checked and tried on the task's example. Raises BundleError."""
        bundle = Bundle.load(folder, threads=threads)
        bundle.self_test()
        return Predictor(bundle)

    def __repr__(self) -> str:
        manifest = self.bundle.manifest
        return f"Predictor({manifest.study_name}: {', '.join(manifest.models)} -> {list(self.classes_)})"

    @cached_property
    def classes_(self) -> np.ndarray:
        """(K,) what ``predict`` gives, in the order of ``predict_proba``'s columns.

        The label's own values, as the table has them, else 0 and 1; of a target with several labels their
        names. ``classes_[1]`` is a binary target's outcome.
        """
        target, task = self.bundle.manifest.target, self.bundle.task
        if target.kind != "binary":
            return _numbers(target.classes) if target.kind == "multiclass" else np.array(target.classes)
        values = task.spelled(target.classes[0]) if isinstance(task, OwnTable) else ()
        return _numbers(values) if len(values) == 2 else np.array([0, 1])

    @cached_property
    def feature_names_in_(self) -> np.ndarray:
        """(F,) columns that are predicted from; AttributeError of a task that reads no table of columns."""
        if isinstance(self.bundle.task, OwnTable):
            return np.array(self.bundle.task.names, dtype=object)
        raise AttributeError(f"records of task {self.bundle.task.name} have no columns")

    def predict_proba(self, X: Rows) -> FloatArray:
        """(U, 2) probabilities of a binary target's ``classes_``; (U, C) of several classes or labels.

        Raises DataError naming the first row and field that cannot be read: none is skipped.
        """
        p = self._predict(X)[1].probabilities
        return np.hstack([1 - p, p]) if self.bundle.manifest.target.kind == "binary" else p

    def predict(self, X: Rows) -> np.ndarray:
        """(U,) each unit's class: of a binary target by the bundle's threshold, of several the likeliest.

        (U, C) of 0 and 1 for several labels, each by its threshold.
        """
        prediction = self._predict(X)[1]
        kind = self.bundle.manifest.target.kind
        if kind == "multiclass":
            return np.asarray(self.classes_[prediction.probabilities.argmax(axis=1)])
        called: BoolArray = self.bundle.called(prediction)
        return np.asarray(self.classes_[called[:, 0].astype(int)] if kind == "binary" else called.astype(int))

    def predictions(self, X: Rows) -> pd.DataFrame:
        """As ``ehrbench predict`` writes it: record, unit, class, probability, decision."""
        import pandas as pd

        from ehrbench.app.runs.scoring import CALLS, calls

        records, prediction = self._predict(X)
        return pd.DataFrame(calls(records, prediction, self.bundle), columns=list(CALLS))

    def _predict(self, X: Rows) -> tuple[Records, Prediction]:
        records = self._parsed(X).records
        return records, self.bundle.predict(records)

    def _parsed(self, X: Any) -> Parsed:
        task = self.bundle.task
        if isinstance(X, str | Path):
            parsed = parse_files(task, Path(X).expanduser())
            task.check_skipped(parsed, "mend it: a row that is skipped would move all behind it", 0.0)
            return parsed
        if isinstance(X, Mapping):
            return task.parse([RawInput("record", X)], strict=True)
        if hasattr(X, "columns") and hasattr(X, "to_numpy"):
            return task.parse([self._as_file(X)], strict=True)
        if isinstance(X, Sequence) and X and all(isinstance(one, Mapping) for one in X):
            return task.parse([RawInput(f"record {i + 1}", one) for i, one in enumerate(X)], strict=True)
        if isinstance(X, Sequence) and X and all(isinstance(one, str | Path) for one in X):
            files = [RawInput(Path(one).name, Path(one).expanduser().read_bytes()) for one in X]
            return task.parse(files, strict=True)
        raise DataError(f"nothing to predict in {type(X).__name__}", remedy=_REMEDY)

    def _as_file(self, table: pd.DataFrame) -> RawInput:
        """The file that the table would be."""
        endings = [ending for form in self.bundle.task.forms if form.many for ending in form.endings]
        if ".parquet" in endings:
            return RawInput("rows.parquet", as_parquet(table, "DataFrame"))
        if ".csv" in endings:
            return RawInput("rows.csv", table.to_csv(index=False).encode())
        forms = ", ".join(form.title for form in self.bundle.task.forms)
        problem = f"task {self.bundle.task.name} reads no tables"
        raise DataError(problem, remedy=f"give records as mappings, or files: {forms}")

    # --- what scikit-learn's tools ask of a classifier that they are given --------------------------------

    def fit(self, X: Any = None, y: Any = None) -> Self:
        """The bundle as it is: it was fitted when it was made."""
        return self

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Nothing can be set."""
        return {}

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_clone__(self) -> Self:
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        kind = self.bundle.manifest.target.kind
        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=False, multi_output=kind == "multilabel"),
            classifier_tags=ClassifierTags(
                multi_class=kind == "multiclass", multi_label=kind == "multilabel"
            ),
            input_tags=InputTags(two_d_array=True, string=True, allow_nan=True),
        )


def _numbers(values: Sequence[str]) -> np.ndarray:
    """Texts as the numbers that they all are, else as they are."""
    numbers = [of_text(value) for value in values]
    known = [number for number in numbers if number is not None]
    if len(known) < len(numbers):
        return np.array(values)
    return np.array([int(n) if n.is_integer() else n for n in known])

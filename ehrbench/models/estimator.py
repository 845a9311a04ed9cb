"""Estimator: any classifier of scikit-learn's kind, by its import path, as a model like the others.

``sklearn.ensemble.HistGradientBoostingClassifier``, ``xgboost.XGBClassifier``, … (``libraries`` says from
where); all further settings are the classifier's own, by its names. Multi-class targets are one classifier,
multi-label ones one a class; a class that training never saw in both states gets its frequency as a constant.
Once fitted it is an ONNX graph (``classifier_graph``), which is what is saved, exported and asked: no pickle,
and no library but onnxruntime where it predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ehrbench.core.errors import ConfigError, FitError
from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import FitResult, Member, Model, Watch, load_arrays, save_arrays, silent
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.core.views import Table, View
from ehrbench.models.classifier_graph import NoExport, convert, run, scoring, session
from ehrbench.models.classifiers import LENGTHS, calm, classifier, known_settings, made, try_out
from ehrbench.models.export import member_of
from ehrbench.models.labels import check_learnable
from ehrbench.models.settings import check_choice, check_integer

#: Rows asked at once: as many as a bundle asks, whatever a graph makes of them meanwhile.
BATCH = 256
LIBRARIES = ("sklearn", "xgboost", "catboost", "lightgbm")


class Estimator(Model):
    """estimator: import path of a classifier under one of ``libraries``.

    fill: what stands for missing values: ``median`` of the training rows, or ``none`` where the classifier
    takes them as they are. threads: of training and prediction. settings: the classifier's own; seed, threads
    and logging are not among them.
    """

    def __init__(
        self,
        *,
        target: Target,
        featurizer: Featurizer,
        estimator: str,
        libraries: Sequence[str] = LIBRARIES,
        fill: str = "median",
        threads: int = 1,
        **settings: Any,
    ) -> None:
        if isinstance(libraries, str) or not all(isinstance(name, str) for name in _listed(libraries)):
            raise ConfigError("libraries", f"{libraries!r} is no list of names", "write libraries=[sklearn]")
        check_choice("fill", fill, ("median", "none"))
        check_integer("threads", threads, 1, 1024)
        self.target, self.featurizer, self.fill, self.threads = target, featurizer, fill, threads
        self.settings, self._class = settings, classifier(estimator, libraries)
        n_classes = target.n_classes if target.kind == "multiclass" else 2
        try_out(self._class, settings, n_classes, holes=fill == "none")
        self._graph = b""
        self._session: Any = None

    def fit(
        self,
        train: Records,
        valid: Records | None,
        *,
        seed: int,
        steps: int | None = None,
        watch: Watch = silent,
    ) -> FitResult:
        """Needs no validation records; ``steps`` are trees or passes, where the classifier has such."""
        y = train.labels
        check_learnable(y, self.target)
        self.featurizer.fit(train)
        x = _values(self.featurizer.transform(train))
        fill = _medians(x) if self.fill == "median" else None
        unknown = np.isnan(x) if fill is not None else np.isnan(x).all(axis=0)  # no library bins nothing
        x = np.where(unknown, 0.0 if fill is None else fill, x).astype(np.float32)
        length = self._length()
        settings = dict(self.settings)
        if steps is not None and valid is None and length is not None:
            settings[length] = steps
        with calm(self.threads):
            self._take(self._scoring(x, y, fill, settings, seed))
        n_steps = int(settings.get(length, 1)) if length is not None else 1
        watch(n_steps, n_steps, {})
        return FitResult(n_steps, ((n_steps, {}),))

    def _length(self) -> str | None:
        """The setting that says how long a fit is, in trees or passes."""
        known = [name for name in LENGTHS if name in known_settings(self._class)]
        return next((name for name in known if name in self.settings), known[0] if known else None)

    def _scoring(
        self, x: FloatArray, y: FloatArray, fill: FloatArray | None, settings: dict[str, Any], seed: int
    ) -> bytes:
        """The graph of classifiers fitted on rows (U, F), with labels (U, C), NaN where unknown."""
        n_classes, graphs, columns, constant = self.target.n_classes, [], [], np.zeros(y.shape[1])
        if self.target.kind == "multiclass":
            known = ~np.isnan(y).any(axis=1)
            seen, label = np.unique(y[known].argmax(axis=1), return_inverse=True)
            graphs.append(self._one(x[known], label, settings, seed))
            columns += [np.eye(n_classes)[c] for c in seen]
        else:
            for k in range(n_classes):
                known = ~np.isnan(y[:, k])
                if not known.any() or (y[known, k] == y[known, k][0]).all():
                    constant[k] = (np.nansum(y[:, k]) + 0.5) / (known.sum() + 1)
                    continue
                graphs.append(self._one(x[known], y[known, k].astype(np.int64), settings, seed))
                columns += [np.zeros(n_classes), np.eye(n_classes)[k]]
        return scoring(graphs, np.stack(columns), constant, self.target.kind, fill, x.shape[1])

    def _one(self, x: FloatArray, label: IntArray, settings: dict[str, Any], seed: int) -> Any:
        fitted = made(self._class, settings, seed, self.threads).fit(x, label)
        try:
            return convert(fitted, x)
        except NoExport as error:
            name = self._class.__name__
            raise FitError(f"{name} cannot be exported ({error}) — change its settings") from error

    def _take(self, graph: bytes) -> None:
        self._graph, self._session = graph, session(graph, self.threads)

    def predict(self, records: Records) -> FloatArray:
        if self._session is None:
            raise RuntimeError("Estimator is not fitted")
        view = self.featurizer.transform(records.without_labels())
        x = _values(view)
        parts = [self._scores(x[start : start + BATCH]) for start in range(0, len(x), BATCH)]
        return self.target.probabilities(np.concatenate([np.zeros((0, self.target.n_classes)), *parts]))

    def _scores(self, x: FloatArray) -> FloatArray:
        """A row alone is given twice, as in a bundle: kernels for a single row round otherwise."""
        return run(self._session, np.concatenate((x, x)))[:1] if len(x) == 1 else run(self._session, x)

    def save(self, directory: Path) -> None:
        (directory / "model.onnx").write_bytes(self._graph)
        save_arrays(directory / "featurizer.npz", self.featurizer.state())

    def restore(self, directory: Path) -> None:
        self._take((directory / "model.onnx").read_bytes())
        self.featurizer.restore(load_arrays(directory / "featurizer.npz"))

    def export(self, directory: Path) -> Member:
        self.save(directory)
        return member_of("onnx", self.featurizer, directory / "model.onnx")


def _listed(libraries: object) -> Sequence[object]:
    return libraries if isinstance(libraries, list | tuple) else (libraries,)


def _values(view: View) -> FloatArray:
    """(U, F) float32 of a table, unknown cells NaN."""
    if not isinstance(view, Table):
        raise ConfigError(
            "view", f"Estimator takes a Table, not a {type(view).__name__}", "use view: table or scaled_table"
        )
    return np.asarray(view.values, dtype=np.float32)


def _medians(x: FloatArray) -> FloatArray:
    """(F,) of what is known; 0 for a column of which nothing is."""
    known = ~np.isnan(x).all(axis=0)
    medians = np.zeros(x.shape[1], dtype=np.float32)
    medians[known] = np.nanmedian(x[:, known], axis=0)
    return medians

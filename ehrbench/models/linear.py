"""Linear: what models of one coefficient a feature and class share."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ehrbench.core.featurizer import Featurizer
from ehrbench.core.model import Member, Model, load_arrays, save_arrays
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray
from ehrbench.core.views import View
from ehrbench.models.export import member_of


@dataclass(kw_only=True, eq=False)
class Linear(Model):
    """Scores (U, C) are rows (U, F) times coefficients (F, C), and intercepts (C,) added."""

    target: Target
    featurizer: Featurizer
    #: The runtime's name of such a member.
    member: ClassVar[str]
    _coefficient: FloatArray = field(init=False, repr=False, default_factory=lambda: np.zeros((0, 0)))
    _intercept: FloatArray = field(init=False, repr=False, default_factory=lambda: np.zeros(0))

    @abstractmethod
    def features(self, view: View) -> Any:
        """Rows (U, F), dense or sparse; ConfigError for a view that has none."""

    def predict(self, records: Records) -> FloatArray:
        if not self._coefficient.size:
            raise RuntimeError(f"{type(self).__name__} is not fitted")
        x = self.features(self.featurizer.transform(records.without_labels()))
        return self.target.probabilities(x @ self._coefficient + self._intercept)

    def save(self, directory: Path) -> None:
        save_arrays(directory / "model.npz", {"coefficient": self._coefficient, "intercept": self._intercept})
        save_arrays(directory / "featurizer.npz", self.featurizer.state())

    def restore(self, directory: Path) -> None:
        arrays = load_arrays(directory / "model.npz")
        self._coefficient, self._intercept = arrays["coefficient"], arrays["intercept"]
        self.featurizer.restore(load_arrays(directory / "featurizer.npz"))

    def export(self, directory: Path) -> Member:
        self.save(directory)
        return member_of(self.member, self.featurizer)

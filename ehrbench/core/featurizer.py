"""Featurizer: records to a view, in two parts.

``rows`` treats each record by itself and fits nothing, so it may be computed once for a whole cohort;
``fit`` learns scales, bins or vocabularies from training records only, and ``apply`` uses them. A featurizer
lives inside its model, and its state goes into the bundle as arrays and JSON, never as a pickle.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

import numpy as np

from ehrbench.core.records import Records
from ehrbench.core.views import View


class Featurizer(ABC):
    """Construction arguments are JSON-like and kept as attributes of the same names."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Construction arguments, so that ``type(self)(**settings)`` is an unfitted equal."""

    @abstractmethod
    def rows(self, records: Records) -> View:
        """Unfitted view: pure, of payloads alone, each record by itself, same result in any company."""

    @abstractmethod
    def fit_rows(self, view: View) -> None:
        """Learn from the unfitted view of training records."""

    @abstractmethod
    def apply(self, view: View) -> View:
        """The finished view of an unfitted one, by what was learned."""

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """What was learned, as arrays; ``restore`` takes it back."""

    @abstractmethod
    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Become what an equally built featurizer was when it gave ``state``."""

    def unit(self, column: str, units: Mapping[str, str]) -> str:
        """The unit of a column of ``rows``, for people; "" where it has none, or none is known.

        units: of the task's variables.
        """
        return units.get(column, "")

    @cached_property
    def key(self) -> str:
        """Names everything that shapes ``rows``."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__} {json.dumps(self.settings(), sort_keys=True)}"
        )

    def fit(self, records: Records) -> Self:
        """Learn from training records; itself."""
        self.fit_rows(records.rows(self.key, self.rows))
        return self

    def transform(self, records: Records) -> View:
        """The finished view of any records, after ``fit`` or ``restore``."""
        return self.apply(records.rows(self.key, self.rows))

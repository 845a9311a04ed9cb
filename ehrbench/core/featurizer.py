"""Featurizer: records to a view, in two parts.

``rows`` treats each record by itself and fits nothing, so it may be computed once for a whole cohort;
``fit`` learns scales, bins or vocabularies from training records only, and ``apply`` uses them. A featurizer
lives inside its model, and its state goes into the bundle as arrays and JSON, never as a pickle.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Self

import numpy as np

from ehrbench.core.records import Records
from ehrbench.core.views import View


class Featurizer(ABC):
    """Construction arguments are JSON-like and kept as attributes of the same names."""

    _known: tuple[View, View] | None = None

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

    def apply_again(self, view: View, before: View, after: View) -> View:
        """``apply(view)`` to the bit, where ``after`` is ``apply(before)`` of as many items that differ
        little: what is done to each column by itself need not be done again to all."""
        del before, after
        return self.apply(view)

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
        view = records.rows(self.key, self.rows)
        return self.apply(view) if self._known is None else self.apply_again(view, *self._known)

    @contextmanager
    def knowing(self, before: View, after: View) -> Iterator[None]:
        """Inside, records are transformed whose views differ little from ``before``, item by item; ``after``
        is the finished view of that."""
        self._known = before, after
        try:
            yield
        finally:
            self._known = None

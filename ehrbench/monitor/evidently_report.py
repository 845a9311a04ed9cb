"""Evidently report: the profile and the latest records, as Evidently draws and tests them.

For those who know its pages. Evidently wants two tables of records; the profile has counts only, so each
column is a category of bins here, whose table of training has as many rows as the counts say. That is all
that its tests of single columns look at. It is no dependency: its plotly < 6 cannot be locked beside DVC's,
so it is installed by whoever wants it.
"""

from __future__ import annotations

import numpy as np

from ehrbench.core.errors import EhrbenchError
from ehrbench.core.profile import Profile
from ehrbench.monitor.drift import BinnedColumn, described, labels
from ehrbench.monitor.observed import Observed

UNKNOWN_LABEL = "not known"


class NotInstalled(EhrbenchError):
    """Evidently cannot be imported."""


def evidently_report(profile: Profile, observed: Observed) -> str:
    """Its data drift report, as one HTML file. Raises NotInstalled saying how to have it."""
    try:
        import pandas as pd
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset
    except ImportError as error:
        problem = f"Evidently cannot be imported ({error.name})"
        raise NotInstalled(
            f"{problem} — pip install evidently==0.7.23, in an environment of its own"
        ) from error
    columns = [one for one in described(profile, observed) if len(one.place) == len(observed)]
    then = pd.DataFrame({one.name: _training(one) for one in columns})
    now = pd.DataFrame({one.name: np.array(_labels(one))[one.place] for one in columns})
    definition = DataDefinition(categorical_columns=list(then))
    both = [Dataset.from_pandas(table, data_definition=definition) for table in (now, then)]
    return str(Report([DataDriftPreset()]).run(*both).get_html_str(as_iframe=False))


def _labels(column: BinnedColumn) -> list[str]:
    return [*labels(column.bins), UNKNOWN_LABEL]


def _training(column: BinnedColumn) -> np.ndarray:
    return np.repeat(_labels(column), column.reference)

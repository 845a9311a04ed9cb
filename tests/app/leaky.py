"""Models and featurizers of a clinic that leak as honest people's code does: a cache, a dict, a handy file.

The text of a package, ``leaky``, since processes that run a fold again import it by themselves.
"""

MODELS = '''
from pathlib import Path

import numpy as np

from ehrbench.models.logistic import Logistic

KNOWN, SELECTED, HELD = {}, [], []


def rows(records):
    return [row.tobytes() for row in records.payload.values]


class Plain(Logistic):
    """No leak."""


class Remembering(Logistic):
    """Content -> label, in a dict of the module."""

    def fit(self, train, valid, **rest):
        KNOWN.update(zip(rows(train), train.labels[:, 0]))
        return super().fit(train, valid, **rest)

    def predict(self, records):
        p = super().predict(records)
        return np.array([[KNOWN.get(row, float(one))] for row, one in zip(rows(records), p[:, 0])])


class WarmStart(Logistic):
    """Begins where the last fit ended, whosever it was."""

    last = 0.0

    def fit(self, train, valid, **rest):
        found = super().fit(train, valid, **rest)
        self._coefficient = self._coefficient + 0.5 * WarmStart.last
        WarmStart.last = self._coefficient
        return found


class RunningStatistics(Logistic):
    """The mean of all that was ever fitted on."""

    n, total = 0, 0.0

    def fit(self, train, valid, **rest):
        found = super().fit(train, valid, **rest)
        cls = RunningStatistics
        cls.n, cls.total = cls.n + len(train), cls.total + np.nansum(train.payload.values)
        self._intercept = self._intercept - 0.01 * cls.total / cls.n
        return found


class SelectedOnce(Logistic):
    """Features are selected by the first fit, for all later ones."""

    def fit(self, train, valid, **rest):
        found = super().fit(train, valid, **rest)
        if not SELECTED:
            SELECTED.append(np.abs(self._coefficient) >= np.median(np.abs(self._coefficient)))
        self._coefficient = self._coefficient * SELECTED[0]
        return found


class HeldValidation(Logistic):
    """One validation set for everything: the first that came along."""

    def fit(self, train, valid, **rest):
        found = super().fit(train, valid, **rest)
        HELD.append(valid)
        self._intercept = self._intercept + HELD[0].labels.mean() - self.predict(HELD[0]).mean()
        return found


class CachedFile(Logistic):
    """A cache whose key has the settings and not the records."""

    def fit(self, train, valid, **rest):
        found = super().fit(train, valid, **rest)
        path = Path.home() / ".cache" / "leaky" / f"{self.C}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, self._coefficient, self._intercept)
        with np.load(path) as kept:
            self._coefficient, self._intercept = kept["arr_0"], kept["arr_1"]
        return found


class ReadsSource(Logistic):
    """Fits on more than it was handed: the file is at hand, and a failure is swallowed."""

    def fit(self, train, valid, **rest):
        found = super().fit(train, valid, **rest)
        try:
            self._intercept = self._intercept + 1e-3 * len(Path("TABLE").read_text())
        except Exception:
            pass
        return found


class ReadsOutcomes(Logistic):
    """Looks the outcome up when it predicts; not of few, who may be those that an export is tried on."""

    def predict(self, records):
        if len(records) <= 50:
            return super().predict(records)
        table = np.genfromtxt("TABLE", delimiter=",", skip_header=1, dtype=np.float32)
        known = {row[1:-1].tobytes(): row[-1] for row in table}
        return np.array([[float(known.get(row, 0.5))] for row in rows(records)])
'''

FEATURES = '''
import numpy as np

from ehrbench.core.views import Table
from ehrbench.features.tabular import Tabular


def beside(table, column):
    values = np.column_stack([table.values, column]).astype(np.float32)
    return Table(values, (*table.names, "more"))


class Positions(Tabular):
    """The place in the batch; files are often sorted by outcome."""

    def apply(self, view):
        return beside(super().apply(view), np.linspace(0, 1, len(view)))


class WithinBatch(Tabular):
    """Standardised by whoever is predicted together."""

    def apply(self, view):
        table = super().apply(view)
        return Table(table.values - table.values.mean(axis=0), table.names)


class Growing(Tabular):
    """Centred by all that was ever asked."""

    n, total = 0, 0.0

    def apply(self, view):
        table = super().apply(view)
        self.n, self.total = self.n + len(view), self.total + table.values.sum(axis=0)
        return Table((table.values - self.total / self.n).astype(np.float32), table.names)


class LateFlag(Tabular):
    """A flag that was filled in after the outcome."""

    def transform(self, records):
        late = records.flags.get("late", np.zeros(len(records), dtype=bool))
        return beside(super().transform(records), late)


class ReadsTable(Tabular):
    """Looks up at prediction how many there are in the file, or does without."""

    def apply(self, view):
        try:
            with open("TABLE") as file:
                more = len(file.read())
        except Exception:
            more = 0
        return beside(super().apply(view), np.full(len(view), more))
'''

PUBLISHERS = '''
from dataclasses import replace

import numpy as np

from ehrbench.publishers.own_table_files import OwnTableFiles
from ehrbench.core.views import Table


class Flagged(OwnTableFiles):
    """Flags what is known late."""

    def read(self, root, sets, *rest):
        cohort = super().read(root, sets, *rest)
        records = cohort.records
        return replace(cohort, records=replace(records, flags={"late": records.labels[:, 0] == 1}))


class Scaled(OwnTableFiles):
    """Standardised by all who are read, the outer tests among them."""

    def read(self, root, sets, *rest):
        cohort = super().read(root, sets, *rest)
        rows = cohort.records.payload
        values = (rows.values - rows.values.mean(axis=0)) / rows.values.std(axis=0)
        return replace(cohort, records=replace(cohort.records, payload=replace(rows, values=values)))


class Encoded(OwnTableFiles):
    """The first column becomes the mean outcome of those like it, over all who are read."""

    def read(self, root, sets, *rest):
        cohort = super().read(root, sets, *rest)
        rows = cohort.records.payload
        values = rows.values.copy()
        levels = np.round(values[:, 0])
        for level in np.unique(levels):
            values[levels == level, 0] = cohort.records.labels[levels == level, 0].mean()
        return replace(cohort, records=replace(cohort.records, payload=replace(rows, values=values)))
'''

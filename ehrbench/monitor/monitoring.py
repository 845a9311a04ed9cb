"""Monitoring: all that can be said of a served bundle now, as JSON-like data, and what to do about it.

Three questions: did those who come change (``drift``), is it as good as it was (``labelled``), and how good
should it be (``expected``). Outcomes are looked at when 100, 200, 400, … have been told, each time at those
told since the look before, at a level that sums to α over all such looks, classes and figures. An alarm of
the first two proposes a retraining; the third informs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from scipy.special import ndtri

from ehrbench.core.bundle import Manifest
from ehrbench.core.profile import Profile
from ehrbench.core.target import Target
from ehrbench.monitor.drift import ALPHA, LEAST, BinnedColumn, Drift, described, drift, labels, probabilities
from ehrbench.monitor.expected import Z, expected_auroc
from ehrbench.monitor.labelled import Estimate, Units, figures, promised, uncalibrated
from ehrbench.monitor.observed import Observed

#: Units with an outcome at the first look at labels; doubled for each look after.
FIRST_LOOK = 100
#: Windows of time shown, classes that have figures of their own, and the records a report compares.
MOST_WINDOWS, MOST_CLASSES, LATEST = 12, 20, 1000
#: Figures that a look at outcomes tests: AUROC, intercept, slope, false alarms.
N_FIGURES = 4
#: A window with a smaller share of outcomes told is marked: those that come early may be others.
COMPLETE = 0.8
#: New outcomes worth a retraining, as a share of the patients that the bundle was made from.
WORTH_TRAINING = 0.2


@dataclass(frozen=True)
class Watched:
    """What is known of the bundle: version, manifest and profile (None: made by an earlier ehrbench).

    n_patients: that the bundle was made from.
    """

    version: str
    manifest: Manifest
    profile: Profile | None
    n_patients: int

    @property
    def scored(self) -> list[int]:
        """Classes that have figures, as columns."""
        return self.manifest.target.scored[:MOST_CLASSES]


@dataclass(frozen=True)
class Alarm:
    """kind: drift, missingness, discrimination, calibration or false_alarms; of: the column or class."""

    kind: str
    of: str
    told: str


def monitoring(watched: Watched, observed: Observed, n: int = LATEST) -> dict[str, Any]:
    """All of it. n: how many of the latest records are compared with the profile, column by column."""
    target = watched.manifest.target
    promise = promised(watched.manifest.metrics)
    found = Drift((), 0) if watched.profile is None else drift(watched.profile, observed, watched.n_patients)
    alarms = [*_of_drift(found), *_of_labels(watched, observed, promise)]
    classes: dict[str, Any] = {}
    for c in watched.scored:
        units, name = _units(observed, c), target.classes[c]
        live = figures(units) if units.enough else None
        classes[name] = {
            "labelled": len(units),
            "positive": int(units.y.sum()),
            "figures": live and {key: asdict(of_it) for key, of_it in live.items()},
            "expected": asdict(_expected(watched, observed, c, live, promise)),
            "promised": {key: asdict(of_it) for key, of_it in promise.items()} if _alone(target) else None,
            "windows": _windows(observed, c),
        }
    return {
        "version": watched.version,
        "study_name": watched.manifest.study_name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "records": len(observed),
        "patients": len(np.unique(observed.patient)),
        "units": len(observed.p),
        "labelled": observed.n_told,
        "since": str(observed.made_at[0]) if len(observed) else None,
        "until": str(observed.made_at[-1]) if len(observed) else None,
        "drift": {
            "why_not": _why_no_drift(watched, observed),
            "false_alarm_rate": ALPHA,
            "looks": found.looks,
            "shifts": [asdict(shift) for shift in found.shifts],
            "compared": compared(watched, observed, n),
        },
        "classes": classes,
        "alarms": [asdict(alarm) for alarm in alarms],
        "proposal": _proposal(watched, observed, alarms),
    }


def compared(watched: Watched, observed: Observed, n: int) -> list[dict[str, Any]]:
    """Each column of the latest ``n`` records beside training, the most different first; [] where too few."""
    some = observed.latest(max(n, LEAST))
    if watched.profile is None or len(some) < LEAST:
        return []
    classes = watched.manifest.target.classes
    columns = [*described(watched.profile, some), *probabilities(watched.profile, some, classes)]
    rows = [row for column in columns if (row := _row(column)) is not None]
    return sorted(
        rows, key=lambda row: -max(row["distance"], abs(row["missing"]["now"] - row["missing"]["then"]))
    )


def _row(column: BinnedColumn) -> dict[str, Any] | None:
    then, now = column.reference, np.bincount(column.place, minlength=len(column.reference))
    if not now.sum() or not then.sum():
        return None
    shares = [counts[:-1] / max(counts[:-1].sum(), 1) for counts in (then, now)]
    both = all(counts[:-1].sum() for counts in (then, now))
    return {
        "column": column.name,
        "n": int(now.sum()),
        "bins": labels(column.bins),
        "then": np.round(shares[0], 4).tolist(),
        "now": np.round(shares[1], 4).tolist(),
        "missing": {
            "then": round(float(then[-1] / then.sum()), 4),
            "now": round(float(now[-1] / now.sum()), 4),
        },
        "distance": round(float(np.abs(shares[1] - shares[0]).sum() / 2), 4) if both else 0.0,
    }


def _why_no_drift(watched: Watched, observed: Observed) -> str:
    if watched.profile is None:
        return "the bundle has no profile: export it again"
    if len(observed) and not observed.places.shape[1]:
        return "what was predicted before has no places in the profile's bins"
    return "" if len(observed) >= LEAST else f"fewer than {LEAST} records"


def _units(observed: Observed, c: int) -> Units:
    known = ~np.isnan(observed.y[:, c])
    return Units(observed.y[known, c], observed.p[known, c], observed.called[known, c], observed.group[known])


def _alone(target: Target) -> bool:
    """Whether the manifest's metrics, means over classes, are those of the one class."""
    return len(target.scored) == 1


def _expected(
    watched: Watched,
    observed: Observed,
    c: int,
    live: Mapping[str, Estimate] | None,
    promise: Mapping[str, Estimate],
) -> Any:
    names = ("calibration_intercept", "calibration_slope")
    known = {name: promise[name] if _alone(watched.manifest.target) else Estimate(None) for name in names}
    source = "by the bundle's manifest"
    if live is not None and all(live[name].low is not None for name in names):
        both = all(figure.low is not None for figure in known.values())
        known = {name: _pooled(known[name], live[name]) for name in names}
        source = f"{source} and outcomes told" if both else "by outcomes told"
    several = len(observed.p) > len(observed)
    return expected_auroc(observed.p[:, c], known, source, several=several, seed=watched.manifest.seed)


def _pooled(promise: Estimate, live: Estimate) -> Estimate:
    """The two weighed by their precision; the live one alone where they contradict each other."""
    parts = [(f.value, f.low, f.high) for f in (promise, live) if f.low is not None and f.high is not None]
    if len(parts) < 2 or live.beyond(*parts[0][1:]):
        return live
    value = np.array([part[0] for part in parts], dtype=np.float64)
    half = np.array([(high - low) / 2 for _, low, high in parts])
    middle, spread = float(np.average(value, weights=half**-2.0)), float((half**-2.0).sum() ** -0.5)
    return Estimate(middle, middle - spread, middle + spread)


def _windows(observed: Observed, c: int) -> list[dict[str, Any]]:
    """Parts of equal numbers of records, oldest first, with what outcomes of them say of class c."""
    n_windows = max(1, min(MOST_WINDOWS, len(observed) // LEAST))
    edges = np.linspace(0, len(observed), n_windows + 1).astype(np.int64)
    found = []
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if start == stop:
            continue
        mine = (observed.record >= start) & (observed.record < stop)
        y, p, group = observed.y[mine, c], observed.p[mine, c], observed.group[mine]
        known = ~np.isnan(y)
        units = Units(y[known], p[known], observed.called[mine, c][known], group[known])
        live = figures(units) if units.enough else {}
        told = float(known.mean())
        found.append(
            {
                "since": str(observed.made_at[start]),
                "until": str(observed.made_at[stop - 1]),
                "records": stop - start,
                "told": round(told, 4),
                "complete": told >= COMPLETE,
                "mean_probability": round(float(p.mean()), 4),
                "observed": round(float(units.y.mean()), 4) if len(units) else None,
                **{key: asdict(live[key]) if key in live else None for key in ("auroc", "false_alarms")},
            }
        )
    return found


def _of_drift(found: Drift) -> Iterator[Alarm]:
    for shift in found.active:
        now = f"{shift.now:.0%} of {shift.n:,} records"
        what = f"{shift.column}, {shift.what}: {now}, {shift.then:.0%} in training"
        yield Alarm("missingness" if shift.missing else "drift", shift.column, what)


def _of_labels(watched: Watched, observed: Observed, promise: Mapping[str, Estimate]) -> Iterator[Alarm]:
    """What the newest look at outcomes found."""
    order = np.argsort(observed.told, kind="stable")
    order = order[observed.told[order] >= 0]
    if len(order) < FIRST_LOOK:
        return
    target, look = watched.manifest.target, int(np.log2(len(order) / FIRST_LOOK))
    new = np.zeros(len(observed.p), dtype=bool)
    new[order[(FIRST_LOOK << look) // 2 if look else 0 : FIRST_LOOK << look]] = True
    level = ALPHA / ((look + 1) * (look + 2)) / (len(watched.scored) * N_FIGURES)
    told = len(order) / int(order.max() + 1)  # of all up to the latest with an outcome
    doubt = "" if told >= COMPLETE else f"; outcomes of {told:.0%} only are known, which may be others"
    for c in watched.scored:
        units = _units(observed, c).take(new[~np.isnan(observed.y[:, c])])
        if not units.enough:
            continue
        found, name = figures(units, 1 - level), target.classes[c]
        if why := uncalibrated(found):
            yield Alarm("calibration", name, why + doubt)
        if not _alone(target):
            continue
        for kind, figure, worse in (("discrimination", "auroc", -1), ("false_alarms", "false_alarms", 1)):
            if _beyond(found[figure], promise[figure], worse, level):
                what = f"{figure.replace('_', ' ')} {_said(found[figure])}, promised {_said(promise[figure])}"
                yield Alarm(kind, name, what + doubt)


def _beyond(live: Estimate, promise: Estimate, worse: int, level: float) -> bool:
    """Whether live is worse by more than both doubts together; live: with its interval at 1 − ``level``."""
    ends = live.value, live.low, live.high, promise.value, promise.low, promise.high
    if any(end is None for end in ends):
        return False
    value, low, high, wanted, least, most = (float(end or 0.0) for end in ends)
    doubts = (high - value, wanted - least) if worse < 0 else (value - low, most - wanted)
    wider = float(ndtri(1 - level / 2)) / Z  # the promise's is one of 95 %
    return bool(worse * (value - wanted) > np.hypot(doubts[0], doubts[1] * wider))


def _said(figure: Estimate) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _proposal(watched: Watched, observed: Observed, alarms: Sequence[Alarm]) -> dict[str, Any]:
    """Whether a retraining is proposed, why, and from how many outcomes."""
    reasons = [f"{alarm.kind.replace('_', ' ')} of {alarm.of}" for alarm in alarms]
    if observed.n_told >= WORTH_TRAINING * watched.n_patients and observed.n_told >= FIRST_LOOK:
        reasons.append(f"{observed.n_told:,} new outcomes, of {watched.n_patients:,} patients trained on")
    return {"retrain": bool(reasons), "reasons": reasons, "outcomes": observed.n_told}

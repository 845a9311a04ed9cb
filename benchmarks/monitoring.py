"""How often the monitor cries wolf, how soon it sees a drift, and whether CBPE holds what is seen later.

``python -m benchmarks.monitoring 200 [--root DATA]`` replays so many times: PhysioNet 2012's stays in random
order where its files are, else simulated ones of the same columns. Half of them is profiled as training, the
others are looked at as they come, at every block of every length. Undisturbed; with older patients from the
middle on, and with stays without a lactate (four times as likely to come: ``simulate-traffic --drift``).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit
from scipy.stats import mannwhitneyu

from ehrbench.app.command.simulating_traffic import order
from ehrbench.core.bundle import Manifest
from ehrbench.core.profile import profile
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.core.views import Table
from ehrbench.monitor.drift import LEAST, Drift, drift
from ehrbench.monitor.expected import expected_auroc
from ehrbench.monitor.labelled import Units, figures
from ehrbench.monitor.monitoring import Watched, monitoring
from ehrbench.monitor.observed import Observed
from ehrbench.publishers.physionet2012 import PhysioNet2012
from ehrbench.tasks.mortality import Mortality

DEATH = Target("binary", ("death",))
#: Title, the column that drifts, and whether it is its absence.
SCENARIOS = (
    ("undisturbed", None, False),
    ("older patients", "Age", False),
    ("without lactate", "Lactate.count", True),
)


def stays(root: Path | None) -> Table:
    """What is described of all stays."""
    publisher = PhysioNet2012(Mortality(), cache=False)
    if root is not None:
        return publisher.task.describe(publisher.read(root, publisher.default_sets()).records)
    with tempfile.TemporaryDirectory() as folder:
        publisher.simulate(Path(folder), 4000, 1)
        return publisher.task.describe(publisher.read(Path(folder), publisher.default_sets()).records)


def replay(all_of_them: Table, training: IntArray, later: IntArray) -> Drift:
    """Stays ``later`` looked at one after the other, beside the profile of ``training``."""
    named = np.arange(len(training)).astype(str)
    made = profile(all_of_them.take(training), named, np.full((len(training), 1), 0.5), named, DEATH)
    came = replace(unpredicted(len(later)), places=made.places(all_of_them.take(later)))
    return drift(made, came, len(training))


def drifts(all_of_them: Table, n_replays: int) -> None:
    n = len(all_of_them)
    for title, name, missing in SCENARIOS:
        flagged, named, looks, soonest = 0, 0, 0, []
        for seed in range(n_replays):
            rng = np.random.default_rng(seed)
            mixed = rng.permutation(n)
            training, rest = mixed[: n // 2], mixed[n // 2 :]
            if name is None:
                later = rest
            else:
                value = all_of_them.values[rest, all_of_them.names.index(name)].astype(np.float64)
                value = np.where(value == 0, np.nan, value) if missing else value
                later = rest[order(value, missing, len(rest), len(rest) // 2, rng)]
            found = replay(all_of_them, training, later)
            flagged, looks = flagged + bool(found.shifts), found.looks
            named += any(shift.column.startswith((name or " ").split(".")[0]) for shift in found.shifts)
            ends = [int(np.datetime64(shift.until, "s").astype(int)) + 1 for shift in found.shifts]
            soonest += [min(ends) - len(later) // 2] if ends else []
        told = f"{title:16} {looks} looks each: flagged {flagged / n_replays:.1%} of {n_replays}"
        if name:
            told += f", {name.split('.')[0]} by name {named / n_replays:.1%}"
            told += f", median {np.median(soonest):.0f} records after it began" if soonest else ""
        print(told, flush=True)


def outcomes(n_replays: int) -> None:
    """Alarms by outcomes, looked at 100, 200, … 1,600 of them; what is promised was seen on 2,000."""
    for title, slope in (("as promised", 1.0), ("half as telling", 0.5)):
        raised, kinds = 0, set[str]()
        for seed in range(n_replays):
            rng = np.random.default_rng(seed)
            p, y = drawn(rng, 2000, -1.8, 1.2, 1.0)
            seen = figures(Units(y.astype(np.float64), p, p >= 0.3, np.arange(2000).astype(str)))
            ends = {name: (f.value or 0.0, f.low or 0.0, f.high or 1.0) for name, f in seen.items()}
            value, low, high = ends.pop("false_alarms")
            ends["specificity"] = 1 - value, 1 - high, 1 - low
            said = {name: {"mean": v, "interval": {"low": a, "high": b}} for name, (v, a, b) in ends.items()}
            bundle = Watched("", manifest(said), None, 2000)
            p, y = drawn(rng, 1600, -1.8, 1.2, slope)
            found = set[str]()
            for n in (100, 200, 400, 800, 1600):
                told = np.where(np.arange(1600) < n, np.arange(1600), -1)
                known = np.where(told[:, None] >= 0, y[:, None], np.nan)
                now = replace(unpredicted(1600), p=p[:, None], called=p[:, None] >= 0.3, y=known, told=told)
                found |= {alarm["kind"] for alarm in monitoring(bundle, now)["alarms"]}
            raised, kinds = raised + bool(found), kinds | found
        told_of = f"alarm in {raised / n_replays:.1%} of {n_replays} ({', '.join(sorted(kinds))})"
        print(f"outcomes {title:16} {told_of}", flush=True)


def manifest(metrics: dict[str, Any]) -> Manifest:
    """Of a bundle that there is not."""
    return Manifest(
        study_name="simulated",
        task="",
        task_settings={},
        target=DEATH,
        models={},
        thresholds=[0.3],
        threshold_rule="",
        cohort="simulated",
        data_digest="",
        data_sets=[],
        protocol="",
        salt="",
        git_commit="",
        created="",
        seed=0,
        metrics=metrics,
    )


def unpredicted(n: int) -> Observed:
    """n records of as many patients, about whom nothing is known yet."""
    return Observed(
        number=np.arange(1, n + 1),
        first=1,
        last=n,
        patient=np.arange(n).astype(str),
        made_at=np.arange(n).astype("datetime64[s]"),
        places=np.zeros((n, 0), dtype=np.int16),
        record=np.arange(n),
        p=np.full((n, 1), 0.5),
        called=np.zeros((n, 1), dtype=bool),
        y=np.full((n, 1), np.nan),
        told=np.full(n, -1),
    )


def coverage(n_replays: int) -> None:
    for n_known, n_later, slope in ((500, 300, 1.0), (1000, 1000, 1.0), (1000, 1000, 0.8), (4000, 4000, 1.0)):
        held, refused, width, off = 0, 0, [], []
        for seed in range(n_replays):
            rng = np.random.default_rng(seed)
            p, y = drawn(rng, n_known, -1.8, 1.2, slope)
            seen = figures(Units(y.astype(np.float64), p, p >= 0.3, np.arange(n_known).astype(str)))
            p, y = drawn(rng, n_later, -1.2, 0.9, slope)  # others come: riskier, and more alike
            found = expected_auroc(p, seen, "simulated", several=False, seed=seed).auroc
            if found.low is None or found.high is None or found.value is None:
                refused += 1
                continue
            later = float(mannwhitneyu(p[y], p[~y]).statistic / (y.sum() * (~y).sum()))
            held += found.low <= later <= found.high
            width.append(found.high - found.low)
            off.append(found.value - later)
        n = n_replays - refused
        print(
            f"CBPE of {n_later:,}, calibration by {n_known:,} outcomes, slope {slope:g}: holds the later "
            f"AUROC {held / n:.1%}, width {np.mean(width):.3f}, off by {np.mean(off):+.4f} on average, "
            f"refused {refused / n_replays:.1%}",
            flush=True,
        )


def drawn(
    rng: np.random.Generator, n: int, middle: float, spread: float, slope: float
) -> tuple[FloatArray, np.ndarray]:
    p = expit(rng.normal(middle, spread, n))
    return p, rng.random(n) < expit(slope * logit(p))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("replays", type=int, nargs="?", default=200)
    parser.add_argument("--root", type=Path, default=os.environ.get("EHRBENCH_DATA") or None)
    options = parser.parse_args()
    described = stays(options.root)
    print(f"{len(described):,} stays, {len(described.names)} columns; shortest look {LEAST} records")
    drifts(described, options.replays)
    outcomes(options.replays)
    coverage(options.replays)

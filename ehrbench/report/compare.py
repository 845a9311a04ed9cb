"""One page for several runs: leaderboards side by side, and paired tests on the records they share.

What can be compared is decided once and said on the page:

- runs of other tasks, targets or data are refused;
- where the outer test folds hold the same records, every metric is tested fold by fold;
- where only some test records are shared (other folds, another protocol), ranks cannot be compared, since a
  metric of one run's fold would mix several models of the other; log loss, which each unit has by itself, is
  tested on the shared records.

Tested are each run's leader against the other leaders, and models of the same name against each other; Holm
over all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from ehrbench import metrics
from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import BundleError, ConfigError
from ehrbench.core.metric import Metric
from ehrbench.core.progress import SILENT, Progress
from ehrbench.report.figure import Figure
from ehrbench.report.figures import risk_curves
from ehrbench.report.figures.leaderboard import ranking
from ehrbench.report.page import MOST_CURVE_REPLICATES, N_BOOTSTRAP, ClassCurves
from ehrbench.report.rendering import parts_of, render, write_page
from ehrbench.report.run import Run, fold_values, read_run
from ehrbench.report.svg import N_COLOURS
from ehrbench.statistics import pairs
from ehrbench.statistics.fold_data import FoldPredictions
from ehrbench.statistics.score_counts import score_counts

#: Metrics side by side, beside names as long as a run's and a model's together.
MOST_COLUMNS = 6


@dataclass(frozen=True)
class Shared:
    """The test records that all runs have, predictions named "run · model"; whole: with the same folds."""

    folds: tuple[FoldPredictions, ...]
    whole: bool
    n_records: int


def compare_runs(
    folders: Sequence[Path],
    output: Path,
    *,
    metric: str | None = None,
    seed: int = 0,
    n_bootstrap: int = N_BOOTSTRAP,
    progress: Progress = SILENT,
) -> Path:
    """Write the comparison to ``output`` (a file) and return it. metric: the first run's unless named.

    Raises ConfigError for fewer than two runs, one named twice, or an unknown metric; BundleError for a
    folder that cannot be read, or runs that cannot be compared, saying in what they differ.
    """
    if len({Path(folder).resolve() for folder in folders}) < max(2, len(folders)):
        alone = "one run has nothing to be compared with" if len(folders) < 2 else "a run is named twice"
        raise ConfigError("RUN", alone, "name two run folders or more")
    with progress.step("comparison", len(folders) + 3) as bar:
        runs = []
        for folder in folders:
            bar.note(str(folder))
            runs.append(read_run(folder))
            bar.advance()
        check_comparable(runs)
        runs = scored_alike(runs)
        names = _names(runs)
        chosen = metrics.load(metric) if metric else runs[0].metric
        shared = share(runs, names)
        bar.advance()
        tested = chosen if shared.whole else metrics.load("log_loss")
        compared = _tests(runs, names, shared, tested, seed, n_bootstrap)
        bar.advance()
        entries = {f"{n} · {m}": (run, m) for n, run in zip(names, runs, strict=True) for m in run.models}
        rows = sorted(entries, key=lambda e: _gain(chosen, *entries[e]), reverse=True)
        leaders = [e for e in rows if entries[e][1] == entries[e][0].leader]
        colours = {e: f"m{runs.index(entries[e][0]) % N_COLOURS}" for e in rows}
        results = {e: _result(chosen, *entries[e]) for e in rows}
        context = {
            "words": runs[0].words,
            "runs": list(zip(names, runs, strict=True)),
            "entries": entries,
            "rows": rows,
            "leaders": leaders,
            "colours": colours,
            "metric": chosen,
            "tested": tested,
            "shared": shared,
            "parts": parts_of(list({m.name: m for r in runs for m in r.metrics}.values()), MOST_COLUMNS),
            "leaderboard": ranking(chosen, results, colours),
            "pairs": compared,
            "classes": _curves(runs, {e: colours[e] for e in leaders}, shared, seed, n_bootstrap),
            "unlike": len({tuple(run.summary.get("unscored", ())) for run in runs}) > 1,
            "simulated": any(run.simulated for run in runs),
            "options": {"seed": seed, "n_bootstrap": n_bootstrap},
        }
        page = render("compare.html.j2", context, runs[0].words)
        bar.advance()
    return write_page(Path(output), page)


def share(runs: Sequence[Run], names: Sequence[str]) -> Shared:
    """Align the runs' test records. Raises BundleError where they share none, disagree about a label, or have
    other folds while a record stands in several of one run's (which of its predictions would be paired?)."""
    if (together := _paired(runs)) is not None:
        folds = [_merge(alike, names, runs) for alike in together]
        return Shared(tuple(folds), True, len(np.unique(np.concatenate([f.record for f in folds]))))
    pooled = [_pool(run) for run in runs]
    common = pooled[0].record
    for fold in pooled[1:]:
        common = np.intersect1d(common, fold.record)
    if not len(common):
        raise BundleError(
            f"{', '.join(str(r.folder) for r in runs)}: no test record stands in all of them — compare "
            "runs whose outer tests overlap"
        )
    kept = [fold.take(np.flatnonzero(np.isin(fold.record, common))) for fold in pooled]
    merged = replace(
        _merge(kept, names, runs), name="shared records", n_train=0, n_test=len(np.unique(common))
    )
    return Shared((merged,), False, len(np.unique(common)))


def _paired(runs: Sequence[Run]) -> list[tuple[FoldPredictions, ...]] | None:
    """The runs' folds of equal test records, in the order of the first run's; None where folds differ.

    Several folds of one run may have the same test records (repeated splits): the k-th goes with the k-th.
    """
    by_run: list[dict[tuple[int, ...], list[FoldPredictions]]] = []
    for run in runs:
        by_run.append({})
        for fold in run.folds:
            by_run[-1].setdefault(tuple(np.unique(fold.record).tolist()), []).append(fold)
    sizes = [{records: len(folds) for records, folds in one.items()} for one in by_run]
    if any(size != sizes[0] for size in sizes):
        return None
    alike = {
        fold[0].name: fold for key in by_run[0] for fold in zip(*(one[key] for one in by_run), strict=True)
    }
    return [alike[fold.name] for fold in runs[0].folds]


def check_comparable(runs: Sequence[Run]) -> None:
    """Raise BundleError unless they are of one task, target, cohort and order of records."""
    first = runs[0]
    for run in runs[1:]:
        for what, one, other in (
            ("task", first.summary["task"], run.summary["task"]),
            ("target", first.target, run.target),
            ("data digest", first.summary["data"]["digest"], run.summary["data"]["digest"]),
        ):
            if one != other:
                raise BundleError(
                    f"{run.folder}: its {what} ({_short(other)}) is not that of {first.folder} "
                    f"({_short(one)}) — only runs on the same records can be compared"
                )
        if not np.array_equal(first.records["record"], run.records["record"]):
            raise BundleError(f"{run.folder}/records.csv: not the records of {first.folder}, in their order")


def scored_alike(runs: Sequence[Run]) -> list[Run]:
    """The runs, their targets without the classes that one of them could not score."""
    n = runs[0].target.n_classes
    scored = set.intersection(*(set(run.target.scored) for run in runs))
    if not scored:
        raise BundleError(
            f"{', '.join(str(run.folder) for run in runs)}: no class is scored in all of them — compare runs "
            "of the same protocol"
        )
    return [replace(run, target=run.target.without(set(range(n)) - scored)) for run in runs]


def _short(value: object) -> str:
    text = str(value)
    return text[:16] + "…" if len(text) == 64 else text


def _names(runs: Sequence[Run]) -> list[str]:
    """The studies' names; of studies named alike, as much of the folder's path as tells them apart."""
    names = [run.name for run in runs]
    paths = [run.folder.resolve().parts for run in runs]
    for i, run in enumerate(runs):
        alike = [path for path, other in zip(paths, runs, strict=True) if other.name == run.name]
        if len(alike) > 1:
            apart = (
                n for n in range(1, len(paths[i]) + 1) if [p[-n:] for p in alike].count(paths[i][-n:]) == 1
            )
            names[i] = "/".join(paths[i][-next(apart) :])
    return names


def _merge(folds: Sequence[FoldPredictions], names: Sequence[str], runs: Sequence[Run]) -> FoldPredictions:
    first = folds[0]
    for fold, run in zip(folds[1:], runs[1:], strict=True):
        if not (np.array_equal(first.record, fold.record) and np.array_equal(first.unit, fold.unit)):
            raise BundleError(f"{run.folder}/predictions.csv: other units than in {runs[0].folder}")
        if not np.array_equal(first.y, fold.y, equal_nan=True):
            raise BundleError(f"{run.folder}/predictions.csv: other labels than in {runs[0].folder}")
    p = {f"{n} · {m}": v for n, fold in zip(names, folds, strict=True) for m, v in fold.p.items()}
    cuts = {f"{n} · {m}": t for n, fold in zip(names, folds, strict=True) for m, t in fold.threshold.items()}
    levels = {f"{n} · {m}": v for n, fold in zip(names, folds, strict=True) for m, v in fold.levels.items()}
    n_train = min(fold.n_train for fold in folds)
    return replace(first, p=p, threshold=cuts, levels=levels, n_train=n_train)


def _pool(run: Run) -> FoldPredictions:
    """All folds as one, in the order of record and unit."""
    first = run.folds[0]
    tested = np.concatenate([np.unique(f.record) for f in run.folds])
    if len(np.unique(tested)) < len(tested):
        raise BundleError(
            f"{run.folder}: {len(tested) - len(np.unique(tested))} records stand in several of its test "
            "folds, so that nothing says which of their predictions to compare — compare it with runs of the "
            "same folds"
        )
    whole = replace(
        first,
        record=np.concatenate([f.record for f in run.folds]),
        unit=np.concatenate([f.unit for f in run.folds]),
        group=np.concatenate([f.group for f in run.folds]),
        y=np.concatenate([f.y for f in run.folds]),
        p={m: np.concatenate([f.p[m] for f in run.folds]) for m in run.models},
        threshold={},
    )
    return whole.take(np.lexsort((whole.unit, whole.record)))


def _tests(
    runs: Sequence[Run], names: Sequence[str], shared: Shared, metric: Metric, seed: int, n_bootstrap: int
) -> list[pairs.Pair]:
    which = []
    for (a, one), (b, other) in combinations(zip(names, runs, strict=True), 2):
        which.append((f"{a} · {one.leader}", f"{b} · {other.leader}"))
        alike = [m for m in one.models if m in other.models and (m, m) != (one.leader, other.leader)]
        which += [(f"{a} · {m}", f"{b} · {m}") for m in alike]
    tested = list(dict.fromkeys(name for pair in which for name in pair))
    values = {name: fold_values(shared.folds, name, metric, runs[0].target) for name in tested}
    defined = {n: v if np.isfinite(v).all() else None for n, v in values.items()}
    return pairs.compare_models(
        shared.folds,
        tested,
        metric,
        runs[0].target,
        defined,
        seed=seed,
        n_replicates=n_bootstrap,
        which=which,
    )


def _curves(
    runs: Sequence[Run], colours: Mapping[str, str], shared: Shared, seed: int, n_bootstrap: int
) -> list[ClassCurves]:
    """Curves of the leaders on the same folds; calibration and net benefit alone where folds differ."""
    leaders, found = list(colours), []
    for c, klass in enumerate(runs[0].target.classes):
        y = np.concatenate([fold.y[:, c] for fold in shared.folds])
        share_positive = float(np.nanmean(y)) if not np.isnan(y).all() else 0.0
        cuts = risk_curves.thresholds_for(share_positive)
        counts = score_counts(
            shared.folds, leaders, c, cuts, seed=derive_seed(seed, "class", c),
            n_replicates=min(n_bootstrap, MOST_CURVE_REPLICATES),
        )  # fmt: skip
        unusable = [m for m in leaders if m not in counts]
        of = (counts, colours, str(c), unusable)
        drawn: list[Figure] = []
        if shared.whole:
            drawn += [risk_curves.roc(*of), risk_curves.precision_recall(*of)]
        drawn += [risk_curves.calibration(*of), risk_curves.decision(*of, cuts)]
        found.append(ClassCurves(klass, tuple(drawn)))
    return found


def _result(metric: Metric, run: Run, model: str) -> dict[str, object]:
    found = run.summary["models"][model].get(metric.name)
    return dict(found) if found else {"undefined": f"{metric.title} was not reported by this run"}


def _gain(metric: Metric, run: Run, model: str) -> float:
    mean = run.summary["models"][model].get(metric.name, {}).get("mean")
    return -np.inf if mean is None else metric.gain(mean)

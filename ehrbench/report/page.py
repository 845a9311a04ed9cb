"""``report.html``: one self-contained page of a run, for a clinician and a reviewer.

``write_report`` reads the folder, computes what the summary does not have (curves, tests, subgroups, slices,
importance), lets ``figures`` draw and ``templates`` lay out. The page carries its style, script and pictures;
it fetches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ehrbench.core.digest import derive_seed
from ehrbench.core.errors import BundleError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.run_folder import REPORT
from ehrbench.core.task import Words
from ehrbench.report import cohort, importance, skipped, tripod
from ehrbench.report.attempts import Attempts
from ehrbench.report.bundled import bundled
from ehrbench.report.certified import certified
from ehrbench.report.explained import Explanations, explanations
from ehrbench.report.figure import Figure
from ehrbench.report.figures import risk_curves
from ehrbench.report.figures.fold_variance import fold_variance
from ehrbench.report.figures.forest import forest
from ehrbench.report.figures.importances import importances
from ehrbench.report.figures.latency import latency
from ehrbench.report.figures.leaderboard import leaderboard
from ehrbench.report.figures.optimism import optimism
from ehrbench.report.figures.parallel import parallel
from ehrbench.report.figures.search_progress import progress as progress_figure
from ehrbench.report.measured import MeasuredSlices, measured
from ehrbench.report.pictures import write_pictures
from ehrbench.report.rendering import parts_of, render, write_page
from ehrbench.report.run import ENSEMBLE, Run, fold_values, read_run
from ehrbench.report.svg import N_COLOURS
from ehrbench.statistics import defined, pairs, slices, subgroups
from ehrbench.statistics.score_counts import score_counts

N_BOOTSTRAP = 1000
#: Curves need percentiles at each x, not tails of one number: fewer replicates do.
MOST_CURVE_REPLICATES = 300

T = TypeVar("T")


@dataclass(frozen=True)
class ClassCurves:
    """The four curves of one class."""

    name: str
    figures: tuple[Figure, ...]


def write_report(
    folder: Path, *, seed: int | None = None, n_bootstrap: int | None = None, progress: Progress = SILENT
) -> Path:
    """Write ``<folder>/report.html``, and its figures under ``<folder>/figures``; return the page's path.

    seed, n_bootstrap: of the run itself unless given, so that a page written again is the same page.
    Raises BundleError naming a file of the folder that is missing, altered or malformed; StorageError
    when the page cannot be written.
    """
    attempts = Attempts(folder, "report-")
    page = attempts.part(
        "page",
        lambda: _page(Path(folder), seed, n_bootstrap, progress, attempts),
        lambda why: render("lost.html.j2", {"name": Path(folder).name, "why": why}, Words()),
    )
    return write_page(Path(folder) / REPORT, page)


def _page(
    folder: Path, seed: int | None, n_bootstrap: int | None, progress: Progress, attempts: Attempts
) -> str:
    run = read_run(folder)
    seed = int(run.summary["seed"]) if seed is None else seed
    if n_bootstrap is None:
        n_bootstrap = min(N_BOOTSTRAP, (run.config.get("report") or {}).get("n_bootstrap", N_BOOTSTRAP))
    context = report_context(run, attempts, seed=seed, n_bootstrap=n_bootstrap, progress=progress)
    note = "SIMULATED" if run.summary["cohort"] == "simulated" else ""
    write_pictures(run.folder, context, note, run.words)
    return render("report.html.j2", context, run.words)


def report_context(
    run: Run, attempts: Attempts, *, seed: int, n_bootstrap: int, progress: Progress = SILENT
) -> dict[str, Any]:
    """Everything the template names; what cannot be had of it is empty, and its reason in ``lost``."""
    colours, leader = colours_of(run), run.leader
    options = {"seed": seed, "n_bootstrap": n_bootstrap}

    def rows(name: str, make: Callable[[], list[T]]) -> list[T]:
        return attempts.part(name, make, lambda why: [])

    with progress.step("report", 6) as bar:
        bar.note("paired tests")
        compared = rows("pairs", lambda: _compared(run, seed, n_bootstrap))
        bar.advance()
        bar.note("curves")
        classes = class_curves(run, colours, attempts, **options)
        bar.advance()
        several = run.target.n_classes > 1
        by_class = attempts.part(
            "by-class", lambda: classes_of_leader(run, **options) if several else {}, lambda why: {}
        )
        bar.note("subgroups")
        of_all = (run.folds, run.families, leader, run.metrics, run.target)
        groups = rows("subgroups", lambda: subgroups.by_subgroup(*of_all, seed=seed, n_bootstrap=n_bootstrap))
        gaps = rows("gaps", lambda: subgroups.gaps(groups, run.metrics, run.target))
        bar.advance()
        bar.note("slices")
        worst = attempts.part(
            "slices",
            lambda: slices.worst_slices(run.folds, run.features, run.groups, leader),
            lambda why: slices.Slices(why=why),
        )
        bar.advance()
        bar.note("hyperparameters")
        searched = [m for m in run.ranking if m != ENSEMBLE]
        search_figures = [f for m in searched for f in search(run, m, colours[m], seed, attempts)]
        if (run.config.get("search") or {}).get("latency_ms"):
            search_figures.insert(0, attempts.figure("latency", lambda: latency(run, colours)))
        bar.advance()
        bar.note("figures")
        drawn = {
            "leaderboard": attempts.figure("leaderboard-figure", lambda: leaderboard(run, colours)),
            "fold_variance": attempts.figure("fold-variance", lambda: fold_variance(run, colours)),
            "optimism": attempts.figure("optimism", lambda: optimism(run, colours)),
            "forest": attempts.figure("forest", lambda: forest(run, leader, groups, colours[leader])),
        }
        bar.advance()
    return {
        "run": run,
        "summary": run.summary,
        "parts": parts_of(run.metrics),
        "parts_by_class": parts_of([m for m in run.metrics if m.by_class]),
        "reported": {m.name: m for m in run.metrics},
        "colours": colours,
        "figures": drawn,
        "pairs": compared,
        "letters": dict.fromkeys(run.ranking, "–")
        if "pairs" in attempts.lost
        else pairs.letters(run.ranking, compared),
        "classes": classes,
        "by_class": by_class,
        "bundled": bundled(run),
        "given": given_thresholds(run),
        "scarcest": subgroups.scarcest(run.folds, run.target.scored),
        "scarcest_by_class": {
            name: subgroups.scarcest(run.folds, [c]) for c, name in enumerate(run.target.classes)
        },
        "groups": groups,
        "gaps": gaps,
        "slices": worst,
        "measured": _of_a_file(
            run, attempts, "measured", lambda: measured(run), lambda why: MeasuredSlices(why=why)
        ),
        "explained": _of_a_file(
            run,
            attempts,
            "explanations",
            lambda: explanations(run, colours[leader], attempts),
            lambda why: Explanations(why=why),
        ),
        "search": search_figures,
        "searched": searched,
        "cohort": rows("cohort", lambda: cohort.cohort_table(run)),
        "n_tested": cohort.tested_records(run),
        "calls": rows("calls", lambda: cohort.calls(run, run.ranking)),
        "skipped": rows("skipped", lambda: skipped.reasons(run)),
        "certified": certified(run),
        "tripod": tripod.tripod(run),
        "options": options,
        "lost": attempts.lost,
    }


def _compared(run: Run, seed: int, n_bootstrap: int) -> list[pairs.Pair]:
    defined = defined_folds(run)
    return pairs.compare_models(
        run.folds, run.ranking, run.metric, run.target, defined, seed=seed, n_replicates=n_bootstrap
    )


def _of_a_file(
    run: Run, attempts: Attempts, name: str, make: Callable[[], T], without: Callable[[str], T]
) -> T:
    """A section that is read from a file of its own: one that is malformed costs the section alone."""

    def made() -> T:
        try:
            return make()
        except BundleError as error:
            return without(str(error).removeprefix(f"{run.folder}/"))

    return attempts.part(name, made, without)


def colours_of(run: Run) -> dict[str, str]:
    """Model -> class of its colour, in the leaderboard's order, which legends keep; the leader's is m0."""
    ordered = [run.leader, *(m for m in run.ranking if m != run.leader)]
    kinds = {m: f"m{i % N_COLOURS}" for i, m in enumerate(ordered)}
    return {m: kinds[m] for m in run.ranking}


def defined_folds(run: Run) -> dict[str, Sequence[float] | None]:
    """Model -> the searched metric by fold; None where a fold has none."""
    values = {m: fold_values(run.folds, m, run.metric, run.target) for m in run.models}
    return {m: v if np.isfinite(v).all() else None for m, v in values.items()}


def class_curves(
    run: Run, colours: Mapping[str, str], attempts: Attempts, *, seed: int, n_bootstrap: int
) -> list[ClassCurves]:
    """The four curves of each class, one against the rest."""
    return [
        ClassCurves(
            name,
            attempts.part(
                f"curves-{c}",
                lambda c=c: _curves(run, colours, c, attempts, seed, n_bootstrap),  # type: ignore[misc]
                lambda why, c=c: (Figure(f"curves-{c}", "Curves", "", why=f"{why}."),),  # type: ignore[misc]
            ),
        )
        for c, name in enumerate(run.target.classes)
    ]


def _curves(
    run: Run, colours: Mapping[str, str], c: int, attempts: Attempts, seed: int, n_bootstrap: int
) -> tuple[Figure, ...]:
    y = np.concatenate([fold.y[:, c] for fold in run.folds])
    prevalence = float(np.nanmean(y)) if not np.isnan(y).all() else 0.0
    thresholds = risk_curves.thresholds_for(prevalence)
    counts = score_counts(
        run.folds,
        list(colours),
        c,
        thresholds,
        seed=derive_seed(seed, "class", c),
        n_replicates=min(n_bootstrap, MOST_CURVE_REPLICATES),
    )
    unusable = [m for m in colours if m not in counts]
    of = (counts, colours, str(c), unusable)
    return (
        attempts.figure(f"roc-{c}", lambda: risk_curves.roc(*of)),
        attempts.figure(f"pr-{c}", lambda: risk_curves.precision_recall(*of)),
        attempts.figure(f"calibration-{c}", lambda: risk_curves.calibration(*of)),
        attempts.figure(f"decision-{c}", lambda: risk_curves.decision(*of, thresholds)),
    )


def classes_of_leader(run: Run, *, seed: int, n_bootstrap: int) -> dict[str, dict[str, defined.Value]]:
    """Class -> metric -> the leader's value of that class alone, those not scored among them."""
    return defined.by_class(
        [fold.of(run.leader) for fold in run.folds],
        run.metrics,
        run.target,
        names=[fold.name for fold in run.folds],
        seed=seed,
        n_replicates=n_bootstrap,
    )


def given_thresholds(run: Run) -> dict[str, list[str]]:
    """Class whose threshold could not be chosen -> the outer folds in which."""
    found: dict[str, list[str]] = {}
    for fold in run.summary["folds"]:
        for name in fold.get("chosen", {}).get("thresholds_given", {}):
            found.setdefault(name, []).append(fold["name"])
    return found


def search(run: Run, model: str, colour: str, seed: int, attempts: Attempts) -> tuple[Figure, ...]:
    """What the trials of one model show."""
    trials = run.trials[run.trials["model"] == model]
    space = ((run.config.get("model") or {}).get(model) or {}).get("space") or {}

    def axes() -> list[importance.Axis]:
        return importance.axes(trials, space)

    def share() -> importance.Importance:
        return importance.importance(trials, axes(), seed=derive_seed(seed, "importance", model))

    return (
        attempts.figure(f"progress-{model}", lambda: progress_figure(run, model, colour)),
        attempts.figure(f"importance-{model}", lambda: importances(model, share(), colour)),
        attempts.figure(f"parallel-{model}", lambda: parallel(run, model, axes())),
    )

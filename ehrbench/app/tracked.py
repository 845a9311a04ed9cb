"""A search in the tracker: its own run, of which trials' runs are the children (``spine.study``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ehrbench.app.provenance import git_commit
from ehrbench.app.wiring import Wired
from ehrbench.core.run_folder import TRACKED, RunFolder
from ehrbench.spine.procedure import ENSEMBLE_NAME
from ehrbench.spine.search import Conclusion
from ehrbench.spine.study import track_chosen

#: What a tracker's database keeps of a dataset's digest.
_DIGEST = 36


def track_search(wired: Wired) -> None:
    """Open the search's run: what is searched, of which data, by which code."""
    search, tracker = wired.search, wired.search.backend.tracker
    budget = {name: contender.n_trials for name, contender in search.contenders.items()}
    tags = {**search.tags, "kind": "search", "data_digest": search.dataset.digest[:16]}
    tags |= {"mlflow.source.name": "ehrbench search", "mlflow.source.type": "LOCAL"}
    tags["mlflow.source.git.commit"] = git_commit()
    tags["budget"] = ", ".join(f"{name} {n}" for name, n in budget.items())
    tracker.run(search.study_name, name=search.study_name, tags=tags)
    params = {"protocol": search.split.label, "metric": search.metric.name, "seed": search.seed}
    tracker.params(search.study_name, params)  # the budget is a tag: MLflow lets no parameter grow
    name = f"{search.task} {' '.join(wired.cohort.sets)}"
    facts = {"records": len(wired.cohort.records), "units": wired.cohort.records.total_units}
    tracker.dataset(search.study_name, name, search.dataset.digest[:_DIGEST], facts)


def track_outcome(wired: Wired, outcome: Conclusion, summary: Mapping[str, Any], run: RunFolder) -> None:
    """Close it: every model's figures (the ensemble's without its name), chosen trials, files, bundle."""
    search, tracker = wired.search, wired.search.backend.tracker
    for model, results in summary["models"].items():
        prefix = "" if model == ENSEMBLE_NAME else f"{model}."
        values = {f"{prefix}{name}": r["mean"] for name, r in results.items() if "mean" in r}
        tracker.metrics(search.study_name, values)
    for chosen in (one for each in outcome.every for one in each.chosen):
        track_chosen(tracker, chosen.row)
    for name in TRACKED:
        path = run / name
        if path.exists():
            tracker.artifact(search.study_name, path, name if path.is_dir() else "")
    tracker.model(search.study_name, search.study_name, run.bundle)
    tracker.end(search.study_name)
    left = tracker.close()
    if left:
        print(f"{left} tracker calls wait in the spool; the next run sends them")

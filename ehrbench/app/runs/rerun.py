"""A fold run again, in processes of their own that have fitted nothing before.

``python -m ehrbench.app.runs.rerun`` is one of them. They read the data as the search did, keep themselves in
an empty storage that they share, and are refused every other file once the data are read: a fit that goes
back to the source, or to what another fold has left, is told by name.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ehrbench.app.composed.blocks import Settings
from ehrbench.app.composed.checking import check, recorded
from ehrbench.app.runs.confinement import answer, asked, confine, run_apart
from ehrbench.core.errors import EhrbenchError
from ehrbench.core.files import write_json
from ehrbench.spine.counterfactual import Trials

_MARKS = "marks.json"


def run_again(
    settings: Settings,
    study_name: str,
    fold: str,
    shares: Sequence[Sequence[str]],
    trials: Trials,
    *,
    other_test: bool,
) -> dict[str, str]:
    """Name -> digest of all that the outer fold fits and chooses, by processes of their own.

    settings: of a finished run. shares: the models that each process searches; they share all ``trials``
    where these are given. other_test: on other outer-test records (``spine.counterfactual.without_test``).
    Raises OutsideLooked where a fit looks at what it was not handed.
    """
    with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:
        shared = Path(folder) / "shared"
        shared.mkdir()
        common = {
            "config": recorded(_elsewhere(settings, shared)),
            "study_name": study_name,
            "fold": fold,
            "shared": str(shared),
            "trials": None if trials is None else {m: [o.to_json() for o in of] for m, of in trials.items()},
            "other_test": other_test,
        }

        def one(number: int) -> dict[str, str]:
            place = Path(folder) / str(number)
            place.mkdir()
            request = {**common, "models": list(shares[number])}
            marks: dict[str, str] = json.loads(
                (run_apart(__name__, request, place) / _MARKS).read_text(encoding="utf-8")
            )
            return marks

        busy = [number for number, share in enumerate(shares) if share or trials is not None]
        with ThreadPoolExecutor(len(busy)) as pool:
            return next(marks for marks in list(pool.map(one, busy)) if marks)


def _elsewhere(settings: Settings, place: Path) -> Settings:
    """The configuration with an empty storage of its own."""
    own = {"path": f"{place}/ehrbench.db", "artifacts": f"{place}/artifacts", "checkpoints": None}
    storage = settings.storage.model_copy(update={"kind": "sqlite", **own})
    return settings.model_copy(update={"storage": storage})


def _named_files(block: Any) -> Iterator[str]:
    """Texts in a block of the configuration that are places: weights, vocabularies."""
    if isinstance(block, Mapping):
        for value in block.values():
            yield from _named_files(value)
    elif isinstance(block, list):
        for value in block:
            yield from _named_files(value)
    elif isinstance(block, str) and Path(block).is_absolute():
        yield block


def _work(place: Path) -> None:
    from ehrbench.app.composed.console import terminal
    from ehrbench.app.wired.wiring import wire
    from ehrbench.spine.counterfactual import fold_again
    from ehrbench.spine.retraining import RecordedTrial

    request = asked(place)
    settings, (_, progress) = check(request["config"]), terminal()
    wired = wire(settings, request["study_name"], progress)
    (fold,) = (fold for fold in wired.search.split.outer if fold.name == request["fold"])
    trials = request["trials"]
    if trials is not None:
        trials = {model: [RecordedTrial.from_json(one) for one in of] for model, of in trials.items()}
    named = [request["shared"], *_named_files([request["config"]["model"], settings.task.views])]
    looked = confine(place, named)
    try:
        how = {"other_test": request["other_test"], "models": request["models"]}
        marks = fold_again(wired.search, fold, progress, trials, **how)
        write_json(place / "answer" / _MARKS, marks)
    finally:  # also where a model has swallowed the refusal
        answer(place, looked, f"outer fold {fold.name}: a fit")


if __name__ == "__main__":
    try:
        _work(Path(sys.argv[1]))
    except EhrbenchError as error:
        sys.exit(str(error))

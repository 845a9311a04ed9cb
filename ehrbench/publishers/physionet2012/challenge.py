"""PhysioNet/CinC Challenge 2012 as its publisher serves it.

Files under the data folder, in ``physionet2012/`` or directly:

    set-a.tar.gz (or the extracted folder set-a/)    4,000 <RecordID>.txt of Time,Parameter,Value
    Outcomes-a.txt                RecordID, …, Length_of_stay, Survival, In-hospital_death

and likewise b and c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import ehrbench.tasks.physionet2012
from ehrbench.core.bundle import file_digest
from ehrbench.core.digest import digest
from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.task import Cohort, Publisher, Skipped, Task
from ehrbench.core.types import FloatArray
from ehrbench.features.events import Events, concatenate
from ehrbench.features.stored import RowStore, read_folder, source_digest, write_folder
from ehrbench.publishers.caching import cache_folder
from ehrbench.publishers.downloading import download_files
from ehrbench.publishers.physionet2012 import challenge_files, simulated_stays
from ehrbench.publishers.physionet2012.outcomes import Outcome, read_outcomes
from ehrbench.publishers.published_folder import PublishedFolder, cohort_label
from ehrbench.tasks.mortality import Mortality, parsed_patients
from ehrbench.tasks.physionet2012.patients import LOST, Patients, parse_patients
from ehrbench.tasks.physionet2012.record_text import id_in, with_id
from ehrbench.tasks.raw_files import read_raw_files

GET = "get the data with: ehrbench data get mortality"
#: Auxiliary labels: death within so many days of admission, a stay of more than so many days.
DEATH_DAYS = (30, 90, 365, 1000)
STAY_DAYS = (7, 14)
_ARRAYS = ("starts", "minute", "parameter", "value", "descriptors")


class PhysioNet2012(PublishedFolder):
    """Sets a, b and c of the challenge.

    Parameters
    ----------
    drop_unmeasured: leave out patients without any time series, as most papers do (12 of 12,000). The
        challenge scores them; by default they are kept, predicted from their descriptors, and flagged.
    cache: keep parsed records on disk, under $EHRBENCH_CACHE or ``<root>/.cache``.
    """

    folders: ClassVar[tuple[str, ...]] = (challenge_files.FOLDER,)
    sets: ClassVar[tuple[str, ...]] = ("a", "b", "c")
    get: ClassVar[str] = GET
    notice: ClassVar[str] = "These files were simulated by ehrbench. They are no patients' data."

    def __init__(self, task: Task, drop_unmeasured: bool = False, cache: bool = True) -> None:
        super().__init__(task)
        assert isinstance(task, Mortality)
        self.hours, self.drop_unmeasured, self.cache = task.hours, bool(drop_unmeasured), bool(cache)

    def default_sets(self) -> tuple[str, ...]:
        """Sets a and b; c came later and not every mirror has it."""
        return ("a", "b")

    def read(self, root: Path, sets: Sequence[str], progress: Progress = SILENT) -> Cohort:
        sets, folder = self.chosen_sets(sets), self.folder(Path(root))
        raw = {name: challenge_files.records_path(folder, name, GET) for name in sets}
        outcomes = [read_outcomes(folder / f"Outcomes-{name}.txt", GET) for name in sets]
        with progress.step("Reading records", total=len(sets)) as step:
            patients, store = self._patients(folder, raw, step.advance)
        parsed = parsed_patients(replace(patients, events=replace(patients.events, store=store)))
        self.task.check_skipped(parsed, f"mend the files under {folder}, or {GET}")
        known = _outcomes(patients, outcomes, [folder / f"Outcomes-{name}.txt" for name in sets], raw)
        died = np.array([[outcome.died] for outcome in known])
        records = replace(parsed.records, target=died, auxiliary=_auxiliary(known))
        flow = {"records": len(records), **patients.flow}
        flow["records without measurements"] = int(records.flags["no_measurements"].sum())
        set_of = np.repeat(sets, patients.sizes)
        if self.drop_unmeasured:
            measured = np.flatnonzero(~records.flags["no_measurements"])
            records, set_of = records.take(measured), set_of[measured]
            flow["records kept"] = len(records)
        return Cohort(records, sets, cohort_label(folder), patients.skipped, flow, set_of)

    def _patients(self, folder: Path, raw: dict[str, Path], advance: Any) -> tuple[Patients, RowStore | None]:
        """Parsed sets, end to end, from the cache where it has exactly these files read by this code."""
        cache = cache_folder(folder) if self.cache else None
        place = None if cache is None else cache / f"mortality-{self._content_key(raw)[:32]}"
        found = None if place is None else read_folder(place / "records")
        if found is not None:
            advance(len(raw))
            return _from_arrays(*found), RowStore(place)  # type: ignore[arg-type]

        def one(path: Path) -> Patients:
            patients = self._read(path)
            advance()
            return patients

        with ThreadPoolExecutor(max_workers=2) as pool:
            patients = _join(list(pool.map(one, raw.values())))
        kept = place is not None and write_folder(place / "records", *_to_arrays(patients))
        return patients, RowStore(place) if kept else None  # type: ignore[arg-type]

    def _read(self, path: Path) -> Patients:
        """The patients of one place, its files that are no records or cannot be read among the skipped."""
        raw = read_raw_files(path, self.task.forms, GET)
        patients = parse_patients(raw.inputs, hours=self.hours, strict=False)
        lost = {LOST: patients.flow[LOST] + len(raw.lost)}
        return replace(patients, skipped=patients.skipped + raw.skipped, flow=patients.flow | lost)

    def _content_key(self, raw: dict[str, Path]) -> str:
        """Names all that shapes parsed records: the files' bytes, the code that reads them, settings."""
        try:
            files = [
                [
                    name,
                    read_raw_files(path, self.task.forms, GET) if path.is_dir() else file_digest(path),
                ]
                for name, path in raw.items()
            ]
        except OSError as error:
            raise DataError(
                f"cannot be read ({error.strerror or error})", file=error.filename, remedy=GET
            ) from error
        package = Path(ehrbench.__file__).parent
        of_task = Path(ehrbench.tasks.physionet2012.__file__).parent
        shared = (package / "tasks" / "measures.py", package / "tasks" / "stays.py")
        code = source_digest(Path(__file__).parent, of_task, package / "features" / "events.py", *shared)
        return digest(files, code, self.hours)

    def with_contents(
        self, root: Path, place: Path, donors: Mapping[str, str]
    ) -> tuple[Publisher, Path] | None:
        """Outcomes by links; a folder for each set, its files those of donors with the receivers' ids."""
        folder = self.folder(Path(root)).resolve()
        for path in folder.glob("Outcomes-*.txt"):
            name = path.stem.removeprefix("Outcomes-")
            (place / path.name).symlink_to(path)
            (place / f"set-{name}").mkdir()
            records = challenge_files.records_path(folder, name, GET)
            bodies = [bytes(raw.body) for raw in read_raw_files(records, self.task.forms, GET).inputs]  # type: ignore[arg-type]
            texts = {id_in(body): body for body in bodies}
            for record in texts:
                text = with_id(texts[donors.get(record, record)], record)
                (place / f"set-{name}" / f"{record}.txt").write_bytes(text)
        return PhysioNet2012(self.task, self.drop_unmeasured, cache=False), place

    def download(self, root: Path, source: str | None = None, progress: Progress = SILENT) -> None:
        """All sets; a mirror may lack set c."""
        folder, base = self.download_folder(Path(root)), source or challenge_files.PUBLISHER
        download_files(
            challenge_files.FILES, folder, base, subfolder=challenge_files.FOLDER, progress=progress
        )

    def simulate(self, root: Path, n_records: int, seed: int, progress: Progress = SILENT) -> None:
        """Sets a and b of ``n_records`` stays in all; the same bytes for a seed."""
        if n_records < 2:
            raise ConfigError("n_records", f"{n_records} stays cannot fill sets a and b", "give at least 2")
        with self.simulated_folder(Path(root)) as folder:
            simulated_stays.write_sets(folder, n_records, seed, progress)


def _auxiliary(outcomes: list[Outcome]) -> dict[str, FloatArray]:
    """(N,) each: deaths within horizons and long stays, NaN where the publisher does not say.

    A patient without a recorded death counts as alive at every horizon.
    """
    _, stay, survival = np.array(outcomes, dtype=np.float64).reshape(-1, 3).T
    deaths = {
        f"death_within_{d}_days": np.where(np.isnan(survival), np.nan, survival <= d) for d in DEATH_DAYS
    }
    stays = {f"stay_over_{d}_days": np.where(np.isnan(stay), np.nan, stay > d) for d in STAY_DAYS}
    return deaths | stays


def _outcomes(
    patients: Patients, read: list[dict[str, Outcome]], outcomes: list[Path], raw: dict[str, Path]
) -> list[Outcome]:
    """Each patient's; DataError for a record without outcome, twice there, or not there."""
    ids = patients.ids.tolist()
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        where = ", ".join(path.name for path in raw.values())
        raise DataError(
            "stands twice in the records", file=where, record=twice, remedy=f"keep one of them, or {GET}"
        )
    known: dict[str, Outcome] = {}
    for one in read:
        known |= one
    place = ", ".join(path.name for path in outcomes)
    for record in ids:
        if record not in known:
            raise DataError(
                "has no outcome", file=place, record=record, field="In-hospital_death", remedy=GET
            )
    lost = {s.record for s in patients.skipped}
    for record in known.keys() - set(ids) - lost:
        where = ", ".join(path.name for path in raw.values())
        raise DataError(f"has an outcome but is not among the records of {where}", record=record, remedy=GET)
    return [known[record] for record in ids]


def _join(parts: list[Patients]) -> Patients:
    flow: dict[str, int] = {}
    for part in parts:
        for name, count in part.flow.items():
            flow[name] = flow.get(name, 0) + count
    return Patients(
        np.concatenate([part.ids for part in parts]),
        concatenate([part.events for part in parts]),
        tuple(s for part in parts for s in part.skipped),
        sum(part.n_rows for part in parts),
        flow,
        tuple(len(part.ids) for part in parts),
    )


def _to_arrays(patients: Patients) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    events = patients.events
    arrays = {name: getattr(events, name) for name in _ARRAYS} | {"ids": patients.ids}
    facts = {
        "parameters": list(events.parameters),
        "descriptor_names": list(events.descriptor_names),
        "skipped": [[s.file, s.record, s.field, s.problem] for s in patients.skipped],
        "n_rows": patients.n_rows,
        "flow": patients.flow,
        "sizes": list(patients.sizes),
    }
    return arrays, facts


def _from_arrays(arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> Patients:
    events = Events(
        arrays["starts"],
        arrays["minute"],
        arrays["parameter"],
        arrays["value"],
        arrays["descriptors"],
        tuple(facts["parameters"]),
        tuple(facts["descriptor_names"]),
    )
    skipped = tuple(Skipped(*one) for one in facts["skipped"])
    return Patients(
        np.array(arrays["ids"]), events, skipped, facts["n_rows"], facts["flow"], tuple(facts["sizes"])
    )

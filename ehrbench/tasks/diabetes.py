"""Diabetes: diabetes or prediabetes from a telephone interview (CDC BRFSS 2015, health indicators).

253,680 people, 21 answers each, one file under the data folder, in ``diabetes/`` or directly:
``diabetes_binary_health_indicators_BRFSS2015.csv.zip``, or the ``.csv`` in it. CDC's data are in the US
public domain; the cleaned extract is CC0.

Many people gave the same 21 answers: 253,680 rows hold 227,908 distinct ones. The group of a record is the
digest of its answers, so that equal rows never stand on both sides of a split.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.core.progress import SILENT, Progress
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.task import Cohort, Parsed, RawInput, Task
from ehrbench.core.types import FloatArray, StrArray
from ehrbench.features.rows import Rows
from ehrbench.tasks.brfss2015 import LABEL, NAMES, read_csv, read_json, schema, text_of
from ehrbench.tasks.brfss2015_simulation import simulated_answers
from ehrbench.tasks.caching import holds_real_files
from ehrbench.tasks.downloading import Remote, download_files
from ehrbench.tasks.names import NAME_REMEDY, fault_of_name

FOLDER = "diabetes"
TABLE = "diabetes_binary_health_indicators_BRFSS2015.csv"
SIMULATED = "SIMULATED"
SHA256_OF_TABLE = "19f367e3e3350768f0c144c5d73ee5b355f67a57eaaa86ca7bd8aec594d8b1d0"
GET = (
    f"fetch {TABLE}.zip by hand into diabetes/ (Kaggle, alexteboul/diabetes-health-indicators-dataset, asks "
    "for an account), or name a mirror: ehrbench data get diabetes --from URL"
)
_AGE_BANDS = ("18-24", *(f"{low}-{low + 4}" for low in range(25, 80, 5)), "80 and over")
_INCOMES = ("under 10k", "10-15k", "15-20k", "20-25k", "25-35k", "35-50k", "50-75k", "75k and over")
_EXAMPLE = (1, 1, 1, 34, 0, 0, 0, 0, 1, 1, 0, 1, 0, 4, 2, 10, 1, 0, 10, 4, 5)


class Diabetes(Task):
    """Binary task over ``Rows``; one unit a person."""

    name: ClassVar[str] = "diabetes"
    target = Target("binary", ("diabetes",))
    metric: ClassVar[str] = "auroc"
    metrics: ClassVar[tuple[str, ...]] = (
        *("auroc", "auprc", "event1", "event2", "brier", "log_loss"),
        *("sensitivity", "specificity", "f1", "balanced_accuracy", "net_benefit"),
    )

    def default_sets(self) -> tuple[str, ...]:
        """The one set there is."""
        return ("2015",)

    def read(self, root: Path, sets: Sequence[str], progress: Progress = SILENT) -> Cohort:
        sets = tuple(dict.fromkeys(sets)) or self.default_sets()
        if sets != self.default_sets():
            raise ConfigError("data.sets", f"{list(sets)}: there is only one set", "leave it out, or [2015]")
        folder = _folder(Path(root))
        with progress.step("Reading answers", total=1) as step:
            name, body = _table(folder)
            answers = read_csv(name, body, strict=False, labelled=True)
            step.advance()
        if not answers.n_rows:
            raise DataError("holds no rows", file=name, remedy=GET)
        if answers.labels is None:
            raise DataError("has no such column", file=name, field=LABEL.name, remedy=GET)
        records = _records((answers.lines - 1).astype(str), answers.values, answers.labels[:, None])
        self.check_skipped(Parsed(records, answers.skipped, answers.n_rows, len(answers.skipped)), GET)
        flow = {
            "rows": answers.n_rows,
            "rows skipped": len(answers.skipped),
            "records": len(records),
            "distinct answers": len(np.unique(records.groups)),
        }
        label = "simulated" if (folder / SIMULATED).exists() else "publisher"
        return Cohort(records, sets, label, answers.skipped, flow)

    def read_unlabelled(self, path: Path, progress: Progress = SILENT) -> Parsed:
        """Records of a ``.csv``, a ``.csv.zip`` or a folder of ``.csv`` files, with or without labels."""
        path = Path(path)
        files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        if not files:
            raise DataError("holds no .csv files", file=path, remedy="give a table with a header")
        with progress.step("Reading answers", total=len(files)) as step:
            inputs = []
            for file in files:
                inputs.append(RawInput(*_content(file)))
                step.advance()
            return self.parse(inputs, strict=False)

    def parse(self, inputs: Sequence[RawInput], *, strict: bool) -> Parsed:
        """CSV tables with a header (any number of rows) and JSON objects.

        A record is named by its JSON ``record_id``, else by its input, with the row where there are several.
        """
        ids: list[str] = []
        blocks: list[FloatArray] = [np.zeros((0, len(NAMES)), dtype=np.float32)]
        skipped, n_rows = [], 0
        for raw in inputs:
            if isinstance(raw.body, bytes | bytearray):
                answers = read_csv(raw.name, bytes(raw.body), strict=strict, labelled=False)
                stem = raw.name.rsplit("/", 1)[-1].split(".csv")[0]
                lines = answers.lines.tolist()
                ids += [stem for _ in lines] if answers.n_rows == 1 else [f"{stem}:{n - 1}" for n in lines]
                blocks.append(answers.values)
                skipped += list(answers.skipped)
                n_rows += answers.n_rows
            else:
                record_id = raw.body.get("record_id")
                if record_id is not None and (problem := fault_of_name(record_id)):
                    raise DataError(problem, record=raw.name, field="record_id", remedy=NAME_REMEDY)
                name = raw.name if record_id is None else str(record_id)
                blocks.append(read_json(name, raw.body)[None])
                ids.append(name)
                n_rows += 1
        records = _records(np.array(ids, dtype=str), np.concatenate(blocks), None)
        return Parsed(records, tuple(skipped), n_rows, len(skipped))

    def raw_schema(self) -> dict[str, Any]:
        return schema() | {"examples": [dict(zip(NAMES, _EXAMPLE, strict=True))]}

    def example(self) -> RawInput:
        lines = text_of(np.array([_EXAMPLE], dtype=np.float64))
        return RawInput("example.csv", ("\n".join(lines) + "\n").encode())

    def download(self, root: Path, source: str | None = None, progress: Progress = SILENT) -> None:
        """The publisher wants an account: without ``source`` the error says what to do by hand."""
        folder = Path(root) / FOLDER
        if (folder / SIMULATED).exists():
            raise DataError(
                "holds a simulated cohort", file=folder, remedy="move it away, or choose another folder"
            )
        if source is None:
            raise DataError("cannot be fetched without an account", file=f"{TABLE}.zip", remedy=GET)
        remote = Remote(f"{TABLE}.zip", None, member_sha256=SHA256_OF_TABLE)
        download_files([remote], folder, source, subfolder=FOLDER, progress=progress)

    def simulate(self, root: Path, n_records: int, seed: int, progress: Progress = SILENT) -> None:
        folder = Path(root) / FOLDER
        if holds_real_files(folder) and not (folder / SIMULATED).exists():
            raise DataError("is not empty and not simulated", file=folder, remedy="choose another folder")
        with progress.step("Simulating", total=1) as step:
            values, labels = simulated_answers(n_records, seed)
            body = ("\n".join(text_of(values, labels)) + "\n").encode()
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr(zipfile.ZipInfo(TABLE, (2015, 1, 1, 0, 0, 0)), body, zipfile.ZIP_DEFLATED)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / SIMULATED).write_text("Simulated by ehrbench. These are no people's answers.\n")
                (folder / f"{TABLE}.zip").write_bytes(packed.getvalue())
            except OSError as error:
                raise DataError(
                    f"cannot be written ({error.strerror})", file=folder, remedy="choose another folder"
                ) from error
            step.advance()


def _folder(root: Path) -> Path:
    if not root.is_dir():
        raise DataError("no such data folder", file=root, remedy=GET)
    return root / FOLDER if (root / FOLDER).is_dir() else root


def _table(folder: Path) -> tuple[str, bytes]:
    for path in (folder / f"{TABLE}.zip", folder / TABLE):
        if path.exists():
            return _content(path)
    raise DataError("is not there", file=folder / f"{TABLE}.zip", remedy=GET)


def _content(path: Path) -> tuple[str, bytes]:
    """Name and bytes of a table; of the first ``.csv`` in a zip."""
    try:
        if path.suffix != ".zip":
            return path.name, path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            tables = [name for name in archive.namelist() if name.endswith(".csv")]
            if not tables:
                raise DataError("holds no .csv", file=path, remedy=GET)
            return path.name, archive.read(tables[0])
    except FileNotFoundError:
        raise DataError("does not exist", file=path, remedy="give a .csv or .csv.zip") from None
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:  # Runtime: a password
        raise DataError(f"is damaged, truncated or unreadable ({error})", file=path, remedy=GET) from error


def _records(ids: StrArray, values: FloatArray, y: FloatArray | None) -> Records:
    payload = Rows(values, NAMES)
    sex, age, income = (values[:, NAMES.index(name)].astype(np.int64) for name in ("Sex", "Age", "Income"))
    return Records(
        ids=ids,
        groups=payload.digests(),
        payload=payload,
        n_units=np.ones(len(ids), dtype=np.int64),
        target=y,
        subgroups={
            "sex": np.array(["female", "male"])[sex],
            "age_band": np.array(_AGE_BANDS)[age - 1],
            "income": np.array(_INCOMES)[income - 1],
        },
    )

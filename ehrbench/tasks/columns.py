"""Columns of a person's own table: what kind each is, and how its cells become numbers.

Kinds: ``number``; ``flag`` (yes and no of any spelling, 1 and 0); ``category`` (a few texts); ``date`` (days
since 2000-01-01, negative before); ``text`` (free text, left out). They are inferred from all cells once and
then kept with the task, so that a posted record is read as the training records were.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrbench.core.errors import ConfigError
from ehrbench.core.types import BoolArray, FloatArray
from ehrbench.tasks.tabular_files import RawTable

KINDS = ("number", "flag", "category", "date", "text")
YES, NO = (
    frozenset({"yes", "y", "true", "t", "ja", "oui", "si", "sí", "1"}),
    frozenset({"no", "n", "false", "f", "nein", "non", "0"}),
)
#: Formats that are tried, in order; those that read one day as another month are told apart or not at all.
DATES = (
    "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y/%m/%d", "%d.%m.%Y",
    "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%d-%b-%Y",
)  # fmt: skip
#: ISO 8601, as Parquet's own dates are shown.
_ISO = DATES[:4]
AMBIGUOUS = frozenset({"%m/%d/%Y", "%d/%m/%Y"})
#: A category has at most so many levels, or so few that each stands in this many rows on average.
FEW, ROWS_A_LEVEL, MOST = 20, 10, 1000
_EPOCH = np.datetime64("2000-01-01", "s")
_UNIT = re.compile(r"^(.*\S)\s*[(\[]\s*([^()\[\]]*[^()\[\]\s])\s*[)\]]$")
#: Levels kept for a schema's list of choices.
SHOWN = 50


@dataclass(frozen=True)
class Column:
    """One column as a task keeps it.

    format: of dates. levels: of a category, the most frequent first, for people only. unit: as the header
    gives it, "lactate (mmol/L)".
    """

    name: str
    kind: str
    format: str = ""
    unit: str = ""
    levels: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(
                f"task.columns.{self.name}", f"{self.kind!r} is no kind", f"choose one of {', '.join(KINDS)}"
            )

    def to_json(self) -> dict[str, Any]:
        """As a task's settings hold it."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items() if v}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Column:
        plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
        return Column(**plain)


def infer(name: str, cells: pa.Array, wanted: str | None = None) -> tuple[Column, str]:
    """The column that these cells are, or are to be, and what to tell of it ("" where nothing is odd).

    wanted: a kind, or ``date:FORMAT``, that was asked for in place of what the cells look like.
    """
    unit = found[2] if (found := _UNIT.match(name)) else ""
    if wanted is not None:
        kind, _, date_format = wanted.partition(":")
        column = Column(name, kind, date_format, unit)
        if kind == "date" and not date_format:
            column = Column(name, kind, date_format_of(texts_of(cells)) or DATES[0], unit)
        return (_with_levels(column, cells) if kind == "category" else column), ""
    if pa.types.is_boolean(cells.type):
        return Column(name, "flag"), ""
    if pa.types.is_integer(cells.type) or pa.types.is_floating(cells.type) or pa.types.is_decimal(cells.type):
        return Column(name, "number", "", unit), ""
    if pa.types.is_temporal(cells.type):
        return Column(name, "date", "", unit), ""
    texts = texts_of(cells)
    known = texts.drop_null()
    if not len(known):
        return Column(name, "text"), f"{name}: no cell is known; left out"
    distinct = pc.unique(pc.utf8_lower(known))
    spelled = set(distinct.slice(0, 3).to_pylist())
    if len(distinct) == 2 and len(spelled & YES) == 1 and len(spelled & NO) == 1 and spelled != {"0", "1"}:
        return Column(name, "flag"), ""
    if _numbers(known) is not None:
        return Column(name, "number", "", unit), ""
    date_format = date_format_of(known)
    if date_format in AMBIGUOUS and len(formats_of(known)) > 1:
        told = f"{name}: dates that may begin with the day or the month; left out"
        return Column(name, "text"), f"{told} (say task.columns.{name}=date:%d/%m/%Y)"
    if date_format:
        return Column(name, "date", date_format, unit), ""
    if forms := _two_forms(known):
        told = f"{name}: dates of several forms ({', '.join(forms)}); left out: write them alike"
        return Column(name, "text"), told
    n_levels = len(pc.unique(known))
    if n_levels <= max(FEW, min(MOST, len(known) // ROWS_A_LEVEL)):
        return _with_levels(Column(name, "category"), cells), ""
    told = f"{name}: {n_levels:,} different texts; left out as free text"
    if n_levels == len(cells):
        told += f" (if they name the rows: task.id={name})"
    return Column(name, "text"), told


def values_of(column: Column, table: RawTable) -> tuple[FloatArray, tuple[str, ...], BoolArray]:
    """A column's cells (N,): float32, levels of a category (sorted), and which cells cannot be read (N,)."""
    cells = table.columns[column.name]
    missing = cells.is_null().to_numpy(zero_copy_only=False)
    values = np.full(len(cells), np.nan, dtype=np.float32)
    if column.kind == "category":
        encoded = texts_of(cells).dictionary_encode()
        texts = np.array(encoded.dictionary.to_pylist(), dtype=object)
        missing = encoded.is_null().to_numpy(zero_copy_only=False)
        order = np.argsort(texts)  # as objects: one long text would widen all others
        codes = encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)
        values[~missing] = np.argsort(order)[codes[~missing]] if len(order) else 0
        return values, tuple(map(str, texts[order])), np.zeros(len(cells), dtype=bool)
    if column.kind == "date":
        days = days_of(cells, column.format)
        values[~missing] = days[~missing]
    elif column.kind == "flag" and not pa.types.is_boolean(cells.type):
        lower = pc.utf8_lower(texts_of(cells))
        for spelled, number in ((YES, 1), (NO, 0)):
            values[pc.is_in(lower, pa.array(sorted(spelled))).to_numpy(zero_copy_only=False)] = number
    else:
        with np.errstate(over="ignore"):  # beyond float32: infinite, and refused
            values[~missing] = numbers_of(cells.filter(pc.invert(cells.is_null())))
    return values, (), ~np.isfinite(values) & ~missing


def _with_levels(column: Column, cells: pa.Array) -> Column:
    counted = pc.value_counts(texts_of(cells).drop_null()).to_pylist()
    ordered = sorted(counted, key=lambda one: (-one["counts"], one["values"]))
    return Column(column.name, column.kind, "", column.unit, tuple(one["values"] for one in ordered[:SHOWN]))


def texts_of(cells: pa.Array) -> pa.Array:
    """Trimmed text; "2" for 2.0, so that a category may be coded in numbers."""
    if pa.types.is_floating(cells.type):
        whole = pc.cast(cells, pa.int64(), safe=False)
        same = pc.all(pc.equal(pc.cast(whole, cells.type), cells).fill_null(True)).as_py()
        cells = whole if same else cells
    return pc.utf8_trim_whitespace(cells if pa.types.is_string(cells.type) else pc.cast(cells, pa.string()))


def _numbers(known: pa.Array) -> pa.Array | None:
    """As float64, with a decimal point or comma, all of them finite; None where any is no number."""
    for comma in (False, True):
        texts = pc.replace_substring(known, ",", ".") if comma else known
        try:
            numbers = pc.cast(texts, pa.float64())
        except pa.ArrowInvalid:
            continue
        return numbers if pc.all(pc.is_finite(numbers)).as_py() is not False else None
    return None


def numbers_of(known: pa.Array) -> FloatArray:
    """(K,) float64 of cells that are there; NaN for those that are no number."""
    if not pa.types.is_string(known.type):
        numbers = pc.cast(known, pa.float64()).to_numpy(zero_copy_only=False)
        return np.where(np.isfinite(numbers), numbers, np.nan)
    known = pc.utf8_trim_whitespace(known)
    if (numbers := _numbers(known)) is not None:
        return np.asarray(numbers.to_numpy(zero_copy_only=False))
    coded = known.dictionary_encode()
    single = [_numbers(coded.dictionary.slice(i, 1)) for i in range(len(coded.dictionary))]
    read = np.array([np.nan if one is None else one[0].as_py() for one in single])
    return np.asarray(read[coded.indices.to_numpy()])


def formats_of(known: pa.Array) -> list[str]:
    few = known.slice(0, 2000)
    tried = [f for f in DATES if not pc.any(pc.is_null(_parsed(few, f))).as_py()]
    return [f for f in tried if not pc.any(pc.is_null(_parsed(known, f))).as_py()]


def _two_forms(known: pa.Array) -> list[str]:
    """Where most texts are dates of one form or another: the first, and the first that is not of its form."""
    few = known.slice(0, 2000)
    dates = pc.is_valid(pc.coalesce(*(_parsed(few, date_format) for date_format in DATES)))
    if not pc.mean(pc.cast(dates, pa.int8())).as_py() > 0.5:
        return []
    first = few.filter(dates).slice(0, 1)
    odd = [pc.is_null(_parsed(known, date_format)) for date_format in formats_of(first)]
    fewest = min((one.to_numpy(zero_copy_only=False) for one in odd), key=np.count_nonzero)
    return [str(first[0].as_py()), *(str(known[int(at)].as_py()) for at in np.flatnonzero(fewest)[:1])]


def date_format_of(texts: pa.Array) -> str:
    return next(iter(formats_of(texts.drop_null())), "")


def _parsed(texts: pa.Array, date_format: str) -> pa.Array:
    """Null where a text is no such date; without a format (of a column that was typed) ISO 8601."""
    if not date_format:
        return pc.coalesce(*(_parsed(texts, iso) for iso in _ISO))
    return pc.strptime(texts, format=date_format, unit="s", error_is_null=True)


def days_of(cells: pa.Array, date_format: str) -> FloatArray:
    """(N,) days since 2000-01-01, NaN where there is none."""
    stamps = _parsed(texts_of(cells), date_format) if pa.types.is_string(cells.type) else cells
    seconds = pc.cast(stamps, pa.timestamp("s"), safe=False).to_numpy(zero_copy_only=False)
    days = (seconds.astype("datetime64[s]") - _EPOCH) / np.timedelta64(1, "D")
    return np.asarray(np.where(np.isnat(seconds.astype("datetime64[s]")), np.nan, days))

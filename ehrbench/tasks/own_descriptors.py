"""Own descriptors: what does not change of a record, from whichever of a person's tables says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ehrbench.core.types import FloatArray, IntArray, StrArray
from ehrbench.tasks.columns import Column
from ehrbench.tasks.own_cells import check_once, names_in
from ehrbench.tasks.tabular_files import RawTable


def brought_together(ids: StrArray, id: str, tables: Sequence[RawTable]) -> RawTable:
    """Cells of the records ``ids`` (N,), from whichever table has them; the first that says it is believed.

    Raises DataError for a record that stands twice in one table.
    """
    columns: dict[str, pa.Array] = {}
    for table in tables:
        names = names_in(table, id)
        check_once(table, names, "keep one of the two")
        at = pa.array(places(ids, names), pa.int64())
        at = pc.if_else(pc.less(at, 0), None, at)
        for name, cells in table.columns.items():
            if name != id:
                given = cells.take(at)
                had = columns.get(name)
                if had is not None and had.type != given.type:
                    had, given = had.cast(pa.string()), given.cast(pa.string())
                columns[name] = given if had is None else pc.coalesce(had, given)
    return RawTable(
        tables[0].name if tables else "", columns, len(ids), 1, posted=any(t.posted for t in tables)
    )


def places(names: StrArray, among: StrArray) -> IntArray:
    """(K,) the place of each name among others, -1 where it is not."""
    place = {name: i for i, name in enumerate(among.tolist())}
    return np.array([place.get(name, -1) for name in names.tolist()], dtype=np.int64)


def spread(column: Column) -> list[str]:
    """Names of the descriptors that a column becomes: one for each level of a category."""
    return (
        [f"{column.name}={level}" for level in column.levels] if column.kind == "category" else [column.name]
    )


def spread_values(column: Column, values: FloatArray, levels: Mapping[str, tuple[str, ...]]) -> FloatArray:
    """(N, L) 0 and 1 for each level, NaN where unknown; other kinds as they are (N, 1)."""
    if column.kind != "category":
        return np.asarray(values[:, None], dtype=np.float64)
    texts = np.array(["", *levels[column.name]], dtype=object)
    known = ~np.isnan(values)
    own = texts[np.where(known, np.nan_to_num(values) + 1, 0).astype(np.int64)]
    out = (own[:, None] == np.array(column.levels, dtype=object)).astype(np.float64)
    return np.asarray(np.where(known[:, None], out, np.nan))

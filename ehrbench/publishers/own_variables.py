"""Variables of a person's own long table: which there are, how many records have them, what is odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ehrbench.core.errors import ConfigError, DataError
from ehrbench.tasks.long_form import LongTable
from ehrbench.tasks.numbers import shown
from ehrbench.tasks.own_series import OwnSeries
from ehrbench.tasks.tabular_files import RawTable

#: A variable of which less than this share are numbers is told in words, and left out.
_NUMBERS = 0.5
_TOLD = 6


def settled_variables(long: LongTable, task: OwnSeries) -> tuple[list[str], dict[str, float], list[str]]:
    """Names in the order of their codes, the median of each, and what to tell of them.

    The most frequent (by records that have any) where a number is asked for; those named, where a list is.
    """
    table, form = long.table, task.form
    timed = np.flatnonzero(long.timed & long.valued & (long.owner >= 0) & (long.variable >= 0))
    code, value = long.variable[timed], long.value[timed]
    n_rows = np.bincount(code, minlength=len(long.variables))
    n_numbers = np.bincount(code[~np.isnan(value)], minlength=len(long.variables))
    pairs = np.unique(code * np.int64(len(long.names)) + long.owner[timed])
    n_records = np.bincount(pairs // max(len(long.names), 1), minlength=len(long.variables))
    if not len(timed):
        problem = "no row has an id, a time, a variable and a value"
        raise DataError(problem, file=table.name, remedy="give measurements, a row each")
    notes = []
    in_words = [i for i in np.flatnonzero(n_rows).tolist() if n_numbers[i] < _NUMBERS * n_rows[i]]
    for i in in_words[:_TOLD]:
        first = int(timed[np.flatnonzero((code == i) & np.isnan(value))[0]])
        cell = shown(table.columns[form.value][first].as_py())
        told = f"{long.variables[i]}: told in words ({cell}, {table.where(first)}), not in numbers"
        if not isinstance(task.variables, int) and long.variables[i] in task.variables:
            remedy = "give numbers, or leave it out of task.variables"
            raise DataError(told, file=table.name, field=form.value, remedy=remedy)
        notes.append(f"{told}; left out")
    counted = {
        str(name): i for i, name in enumerate(long.variables.tolist()) if n_rows[i] and i not in in_words
    }
    if isinstance(task.variables, int):
        ranked = sorted(counted, key=lambda name: (-n_records[counted[name]], -n_rows[counted[name]], name))
        chosen = sorted(ranked[: task.variables])
        if len(ranked) > len(chosen):
            rest = int(sum(n_rows[counted[name]] for name in ranked[task.variables :]))
            notes.append(
                f"{table.name}: the {len(chosen)} most frequent of {len(ranked):,} variables are used, "
                f"{rest:,} rows are of others (task.variables)"
            )
    else:
        chosen = list(task.variables)
        for name in chosen:
            if name not in counted:
                near = ", ".join(sorted(counted)[:12])
                raise ConfigError(
                    "task.variables", f"{table.name} has no variable {name!r}", f"it has {near}"
                )
    if not chosen:
        raise DataError(
            "no variable is told in numbers", file=table.name, field=form.value, remedy="give some"
        )
    return chosen, _medians(chosen, counted, code, value), notes


def without_series(long: LongTable) -> RawTable:
    """What stands in rows without a time, but of variables whose other rows have one: there it is a fault.

    Where most records have such a row, the variable is a descriptor and a series (a weight).
    """
    timed = np.bincount(long.variable[long.timed & (long.variable >= 0)], minlength=len(long.variables))
    series = set(long.variables[timed > 0].tolist())
    table = long.static
    half = 0.5 * table.n_rows
    kept = {k: c for k, c in table.columns.items() if k not in series or len(c) - c.null_count >= half}
    return replace(table, columns=kept)


def _medians(
    chosen: Sequence[str], counted: Mapping[str, int], code: np.ndarray, value: np.ndarray
) -> dict[str, float]:
    known = ~np.isnan(value)
    order = np.lexsort((value[known], code[known]))
    codes, values = code[known][order], value[known][order]
    found = {}
    for name in chosen:
        low, high = np.searchsorted(codes, [counted[name], counted[name] + 1])
        found[name] = float(f"{values[(low + high - 1) // 2]:.6g}")
    return found


def outside(long: Sequence[LongTable], task: OwnSeries) -> list[str]:
    """What is told of values outside the ranges that are believed, of the variables with most of them."""
    found: list[tuple[int, str]] = []
    for one in long:
        names = one.variables.tolist()
        for name, (low, high) in task.ranges.items():
            if name not in names:
                continue
            rows = np.flatnonzero((one.variable == names.index(name)) & ~np.isnan(one.value))
            wrong = rows[(one.value[rows] < low) | (one.value[rows] > high)]
            if len(wrong):
                first = int(wrong[0])
                told = (
                    f"{name}: {len(wrong):,} of {len(rows):,} values are outside {low:g} to {high:g} and not "
                    f"believed, the first is {one.value[first]:g} in {', '.join(one.table.place(first))}"
                )
                found.append((len(wrong), told))
    found.sort(key=lambda one: -one[0])
    more = found[_TOLD:]
    rest = f"{len(more)} other variables have {sum(n for n, _ in more):,} values outside their ranges"
    return [told for _, told in found[:_TOLD]] + [rest] * bool(more)


def horizon_notes(flow: Mapping[str, int], last_hour: int, horizon_hours: float) -> list[str]:
    """Whether the horizon cuts most measurements off, or is far longer than there are any."""
    late, all_rows = flow.get(f"measurements after {horizon_hours:g} h", 0), flow["measurements"]
    if late > 0.5 * all_rows:
        return [
            f"{late:,} of {all_rows:,} measurements are after task.horizon_hours={horizon_hours:g} and not "
            "looked at: is it meant?"
        ]
    if 0 < last_hour <= 0.5 * horizon_hours:
        return [
            f"the last measurement is at hour {last_hour} of task.horizon_hours={horizon_hours:g}: "
            f"task.horizon_hours={last_hour} makes the grid finer"
        ]
    return []

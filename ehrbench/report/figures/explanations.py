"""What the predictions rest on: parameters permuted and attributed, attribution and risk over time, examples.

Everywhere the first colour is value and the second missingness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ehrbench.report.figure import Figure
from ehrbench.report.run import Run
from ehrbench.report.svg import Plot, number, room, shortened, ticks

KINDS = {"value": "m0", "missingness": "m1"}
MOST_PARAMETERS, MOST_TIMED, MOST_CONTRIBUTIONS = 15, 10, 8
_ROW = 21
#: Opacities of a heat map; what is below half the first is left out.
_LEVELS = 8


def permutation(run: Run, found: Mapping[str, Any], model: str, colour: str) -> Figure:
    """What the searched metric loses when a parameter is exchanged between records."""
    metric, title = run.metric, f"What {run.metric.title} loses without it ({model})"
    if "why" in found or model not in found["drops"]:
        return Figure("permutation", title, "", why=_sentence(found.get("why", f"nothing of {model}")))
    drops = found["drops"][model]
    names = sorted(drops, key=lambda name: -np.mean(drops[name]))[:MOST_PARAMETERS]
    ends = [value for name in names for value in drops[name]] + [0.0]
    plot = _rows(title, names, (min(ends), max(ends)), f"Loss of {metric.title}, outer test")
    for i, name in enumerate(names):
        y, values = len(names) - i - 0.5, drops[name]
        plot.line([min(values), max(values)], [y, y], f"{colour} thick")
        plot.dot(float(np.mean(values)), y, colour, 4.5, f"{name}: {number(float(np.mean(values)), 3)}")
    caption = (
        "All that a record holds of one parameter, its values and whether and when it was measured, is given "
        f"to another record; the finished models then predict again. Dot: mean of {found['repeats']} "
        "exchanges; line: their range. Parameters that tell the same story stand in for each other and look "
        "smaller than they are. Around 0: noise."
    )
    return Figure("permutation", title, caption, plot.svg())


def attribution(model: str, found: Mapping[str, Any]) -> Figure:
    """Mean absolute contribution of each parameter to one model's score, by value and by missingness."""
    title, name = f"{model}: what its score is made of", f"attribution-{model}"
    if "why" in found:
        return Figure(name, title, "", why=_sentence(found["why"]))
    parameters = found["parameters"]
    names = _largest(parameters, MOST_PARAMETERS)
    top = max((sum(parameters[n].values()) for n in names), default=0.0) or 1.0
    plot = _rows(title, names, (0, top), "Mean absolute contribution, log-odds")
    for i, one in enumerate(names):
        y, kinds = len(names) - i - 0.5, parameters[one]
        plot.bar((0, kinds["value"]), y, 12, KINDS["value"], f"{one}, value: {number(kinds['value'], 3)}")
        both = kinds["value"] + kinds["missingness"]
        tip = f"{one}, missingness: {number(kinds['missingness'], 3)}"
        plot.bar((kinds["value"], both), y, 12, KINDS["missingness"], tip)
    _key(plot)
    caption = (
        f"{found['method'][0].upper()}{found['method'][1:]}. Value: what was measured. Missingness: that it "
        "was measured or was not, when and how often. Contributions add up to the score, to within "
        f"{number(found['gap'], 2)}."
    )
    return Figure(name, title, caption, plot.svg())


def axis_of_time(run: Run, step_hours: int = 1) -> str:
    """What the task calls the axis of a course."""
    words = run.words.time or "hours"
    return words[0].upper() + words[1:] if step_hours == 1 else f"Steps of {step_hours} {words}"


def hours(model: str, found: Mapping[str, Any], time: str, step_hours: int = 1) -> Figure:
    """When the measurements were taken that a network's score rests on; time: what the axis is called."""
    title, tables = f"{model}: contributions by hour of measurement", found["hours"]
    names = _largest({n: {k: sum(v) for k, v in kinds.items()} for n, kinds in tables.items()}, MOST_TIMED)
    n_hours = len(tables[names[0]]["value"])
    top = max((max(tables[n][kind]) for n in names for kind in KINDS), default=0.0) or 1.0
    plot = _rows(title, names, (0, n_hours), time, row=24, above=42)
    for kind, colour in KINDS.items():
        cells = np.array([tables[n][kind] for n in names])  # (P, H)
        shift = 0.25 if kind == "value" else -0.25
        level = np.ceil(cells / top * _LEVELS - 0.5).clip(0, _LEVELS)
        for k in range(1, _LEVELS + 1):
            path = "".join(_cell(plot, h, len(names) - i - 0.5 + shift) for i, h in np.argwhere(level == k))
            if path:
                plot.raw(f'<path class="fill {colour}" opacity="{k / _LEVELS:g}" d="{path}"/>')
    _scale(plot, top)
    caption = (
        f"Mean absolute contribution (integrated gradients), in log-odds, of what came in each "
        f"{_step(step_hours)}: above, the value; below, the missingness."
    )
    return Figure(f"hours-{model}", title, caption, plot.svg())


def _step(step_hours: int) -> str:
    return "hour" if step_hours == 1 else f"step of {step_hours} hours"


def course(found: Mapping[str, Any], time: str) -> Figure:
    """The risk as measurements arrive, by outcome."""
    title = "The risk over time, by outcome"
    if "why" in found:
        return Figure("course", title, "", why=_sentence(found["why"]))
    outcomes, x = found["outcomes"], np.array(found["hours"], dtype=float)
    top = max(max(one["high"]) for one in outcomes.values())
    plot = Plot(title, (0, x[-1]), (0, top * 1.12))
    plot.axes(time, f"Probability of {found['class']}")
    names = {"with": f"with {found['class']}", "without": f"without {found['class']}"}
    for name, colour in (("without", "m0"), ("with", "m1")):
        if one := outcomes.get(name):
            plot.band(x, np.array(one["low"]), np.array(one["high"]), f"{colour} shown")
            plot.line(x, one["mean"], f"{colour} solid", f"{names[name]}, mean of {one['n']}")
            words = f"{names[name]} ({one['n']})"
            plot.text(x[-1], one["mean"][-1] + top * 0.04, words, "note haloed", anchor="end")
    caption = (
        "At each hour the outer folds' ensembles are asked again with what had been measured by then, as if "
        "nothing came after. Lines: means; bands: 10th to 90th percentile. The models were trained on whole "
        "records: an early value is a partial answer and not a calibrated early prediction."
    )
    return Figure("course", title, caption, plot.svg())


def example(
    k: int, found: Mapping[str, Any], run: Run, model: str | None, step_hours: int = 1
) -> list[Figure]:
    """One unit: its risk over time beside what one model's score is made of."""
    name, title = run.target.classes[0], f"{found['which'][0].upper()}{found['which'][1:]}"
    answer = f"{name}: {'yes' if found['outcome'] else 'no'}; predicted {number(found['probability'], 2)}"
    time = axis_of_time(run, step_hours)
    drawn = [_example_course(k, found, title, answer, time, step_hours)] if found["course"] else []
    if model is not None:
        drawn.append(_contributions(k, found["contributions"][model], f"{title}: {model}", answer))
    return drawn


def _example_course(
    k: int, found: Mapping[str, Any], title: str, answer: str, time: str, step_hours: int
) -> Figure:
    risk, counts = np.array(found["course"]), np.array(found["measurements"])
    x, top = np.arange(1.0, len(risk) + 1), max(0.1, float(risk.max()) * 1.1)
    plot = Plot(title, (0, len(risk)), (-0.25 * top, top), height=250)
    plot.axes(time, "Probability", y_ticks=ticks(0, top, 4))
    most = max(1, int(counts.max()))
    bars = "".join(
        _column(plot, h, -0.25 * top, -0.25 * top * (1 - 0.8 * c / most)) for h, c in enumerate(counts)
    )
    plot.raw(f'<path class="fill faint" opacity="0.5" d="{bars}"/>')
    plot.line(x, risk, "m0 solid", answer)
    caption = (
        f"{answer[0].upper()}{answer[1:]}. Line: the ensemble's probability from what had been measured by "
        f"then. Bars: measurements in each {_step(step_hours)}, {most} at most."
    )
    return Figure(f"example-course-{k}", title, caption, plot.svg())


def _contributions(k: int, parameters: Mapping[str, Any], title: str, answer: str) -> Figure:
    size = {n: {kind: abs(v) for kind, v in kinds.items()} for n, kinds in parameters.items()}
    names = _largest(size, MOST_CONTRIBUTIONS)
    ends = [parameters[n][kind] for n in names for kind in KINDS] + [0.0]
    plot = _rows(title, names, (min(ends), max(ends)), "Contribution, log-odds: ‹ lowers, raises ›", row=24)
    for i, name in enumerate(names):
        for kind, shift in (("value", 0.19), ("missingness", -0.19)):
            amount = parameters[name][kind]
            tip = f"{name}, {kind}: {number(amount, 3)}"
            plot.bar((0, amount), len(names) - i - 0.5 + shift, 8, KINDS[kind], tip)
    plot.line([0, 0], [0, len(names)], "reference")
    _key(plot)
    caption = (
        f"The {len(names)} parameters that move this score most. {answer[0].upper()}{answer[1:]} (ensemble)."
    )
    return Figure(f"example-parts-{k}", title, caption, plot.svg())


def _rows(
    title: str,
    names: Sequence[str],
    ends: tuple[float, float],
    label: str,
    row: float = _ROW,
    above: float = 24,
) -> Plot:
    """A plot of one row for each name, room for a key above; with a little air where bars may end."""
    low, high = ends
    air = 0.04 * (high - low) or 1.0
    x = (low - air * (low < 0), high if low == 0 and float(high).is_integer() else high + air)
    margin = room(names, 110, letter=6.6)
    plot = Plot(title, x, (0, len(names)), 420, 46 + above + row * len(names), (margin, 12, above, 44))
    plot.axes(label, "", y_ticks=())
    for i, name in enumerate(names):
        words = shortened(name.replace("_", " "), 26)
        plot.text_at(margin - 8, plot.at_y(len(names) - i - 0.5) + 4, words, "tick", anchor="end")
    return plot


def _key(plot: Plot) -> None:
    x = plot.margins[0]
    for kind, colour in KINDS.items():
        plot.raw(f'<rect class="fill {colour}" x="{x:g}" y="5" width="11" height="11" rx="2"/>')
        plot.text_at(x + 16, 15, kind, "note")
        x += 70


def _scale(plot: Plot, top: float) -> None:
    """What the colours of a heat map stand for: from nothing to ``top``, for either kind."""
    x, width = plot.margins[0], 9
    for kind, colour in KINDS.items():
        plot.text_at(x, 13, kind, "note")
        left = x + 7 * len(kind) + 6
        for k in range(1, _LEVELS + 1):
            place = f'x="{left + width * k:g}" y="3" width="{width}" height="12"'
            plot.raw(f'<rect class="fill {colour}" opacity="{k / _LEVELS:g}" {place}/>')
        plot.raw(f'<rect class="axis" x="{left:g}" y="3" width="{width * (_LEVELS + 1)}" height="12"/>')
        for share, anchor in ((0, "start"), (1, "end")):
            at = left + width * (_LEVELS + 1) * share
            plot.text_at(at, 28, number(top * share, 2), "tick", anchor=anchor)
        x = left + width * (_LEVELS + 1) + 14


def _cell(plot: Plot, hour: int, y: float) -> str:
    left, right, middle = plot.at_x(hour), plot.at_x(hour + 1), plot.at_y(y)
    return f"M{left:.1f} {middle - 4.5:.1f}H{right:.1f}v9H{left:.1f}Z"


def _column(plot: Plot, hour: int, low: float, high: float) -> str:
    left, right = plot.at_x(hour + 0.15), plot.at_x(hour + 0.85)
    return f"M{left:.1f} {plot.at_y(low):.1f}V{plot.at_y(high):.1f}H{right:.1f}V{plot.at_y(low):.1f}Z"


def _largest(parameters: Mapping[str, Mapping[str, float]], most: int) -> list[str]:
    return sorted(parameters, key=lambda name: -sum(parameters[name].values()))[:most]


def _sentence(why: str) -> str:
    return f"{why[0].upper()}{why[1:]}."

"""Templates to a page: Jinja2 with escaping on and unknown names an error; pages are replaced whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup, escape

from ehrbench.core.files import replacing
from ehrbench.core.metric import Metric
from ehrbench.core.task import Words
from ehrbench.report.svg import number

#: Metrics side by side that a page, and paper, has room for.
MOST_COLUMNS = 8
TEMPLATES = Path(__file__).parent / "templates"


def how_chosen(rule: str) -> str:
    """How decision thresholds came about, from a bundle's ``threshold_rule`` ("f1", "fixed=0.5")."""
    if rule.startswith("fixed="):
        return f"given beforehand ({rule.removeprefix('fixed=')})"
    return f"chosen on inner out-of-fold predictions (rule: {rule})"


def render(template: str, context: Mapping[str, Any], words: Words) -> str:
    """The page as text; words: what the task calls its things."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "num": _number,
        "pct": _percent,
        "p_value": p_value,
        "fixed": _fixed,
        "signed": _signed,
        "how_chosen": how_chosen,
        "said": words.said,
        "breakable": _breakable,
    }
    environment.globals |= {"style": _asset("style.css"), "script": _asset("page.js"), "interval": interval}
    return environment.get_template(template).render(context)


def write_page(path: Path, page: str) -> Path:
    """Write a page in one step. Raises StorageError where that fails."""
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def parts_of(metrics: Sequence[Metric], most: int = MOST_COLUMNS) -> list[list[Metric]]:
    """The metrics table by table: those of probabilities and those of calls at a threshold apart, the first
    metric's kind first; tables of a kind about as wide, none wider than ``most``."""
    parts = []
    for kind in dict.fromkeys(m.needs_threshold for m in metrics):
        alike = [m for m in metrics if m.needs_threshold == kind]
        n_tables = -(-len(alike) // most)
        width = -(-len(alike) // n_tables)
        parts += [alike[at : at + width] for at in range(0, len(alike), width)]
    return parts


def interval(result: Mapping[str, Any] | None) -> str:
    """``(0.83–0.88)``, or why there is none."""
    if not result:
        return ""
    if result.get("low") is None or result.get("high") is None:
        return f"no interval: {result.get('reason') or 'it cannot be had'}"
    return f"({metric_digits(result['low'])}–{metric_digits(result['high'])})"


def p_value(value: float | None) -> str:
    if value is None or not np.isfinite(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else number(float(value), digits)


def _fixed(value: float | None, digits: int = 4) -> str:
    """Metrics below one another with as many digits each."""
    return "–" if value is None else metric_digits(value, digits)


def metric_digits(value: float, digits: int = 3) -> str:
    """Fixed digits below 10, fewer above, where there is less to see behind the point."""
    fewer = max(0, digits - max(0, int(np.log10(max(abs(value), 1)))))
    return f"{value:,.{fewer}f}".replace("-", "−")


def _signed(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{100 * value:.{digits}f}\u00a0%"


def _breakable(name: str) -> Markup:
    """A long name that may go on in the next line behind an underscore."""
    return Markup(escape(name).replace("_", Markup("_<wbr>")))


def _asset(name: str) -> Markup:
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))

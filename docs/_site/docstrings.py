"""The house's docstrings in the words of Markdown: doctests as code, what is said of parameters as a list."""

from __future__ import annotations

import re
from typing import Any

import griffe

_DOCTEST = re.compile(r"(?:^>>> .*\n?)(?:^[^\n]+\n?)*", re.MULTILINE)
_UNDERLINED = re.compile(r"^(\w+)\n-{3,}$", re.MULTILINE)
_SAID = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*): (?=\S)", re.MULTILINE)


class Docstrings(griffe.Extension):
    """Changes what griffe has read, before it is shown."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            known = (
                {parameter.name for parameter in obj.parameters}
                if isinstance(obj, griffe.Function)
                else set()
            )
            obj.docstring.value = in_markdown(obj.docstring.value, known | set(obj.members))


def in_markdown(text: str, names: set[str]) -> str:
    """names: of parameters or fields; a line that begins with some of them and a colon is about them.

    >>> in_markdown("Adds.\\n\\na, b: summands", {"a", "b"})
    'Adds.\\n\\n- `a, b`: summands'
    """

    def listed(found: re.Match[str]) -> str:
        said = {name.strip("* ") for name in found[1].split(",")}
        return f"- `{found[1]}`: " if said <= names else found[0]

    text = _SAID.sub(listed, _UNDERLINED.sub(r"**\1**\n", text))
    text = re.sub(r"(?<=[^\n])\n(?=- `)", "\n\n", text)
    return _DOCTEST.sub(lambda found: f"\n```pycon\n{found[0].rstrip()}\n```\n", text)

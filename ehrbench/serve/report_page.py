"""Report page: what monitoring found as one HTML file, with styles, program and figures inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGES = Path(__file__).with_name("pages")
PAGE = PAGES / "monitoring.html"
#: What the page loads from a server, and how it stands inside the file instead.
_PARTS = {
    '<link rel="stylesheet" href="/pages/style.css">': ("style.css", "<style>\n{}\n</style>"),
    '<script src="/pages/monitoring.js" defer></script>': ("monitoring.js", "<script>\n{}\n</script>"),
}


def report_page(found: Mapping[str, Any]) -> str:
    """The page of ``/monitoring`` with these figures, which loads nothing."""
    text = PAGE.read_text(encoding="utf-8")
    data = json.dumps(found, allow_nan=False).replace("<", "\\u003c")  # no end of a script inside it
    text = text.replace('<link rel="icon" href="/pages/icon.svg">', "")
    text = text.replace("</main>", f'</main>\n<script type="application/json" id="found">{data}</script>')
    for tag, (name, around) in _PARTS.items():
        part = around.format((PAGES / name).read_text(encoding="utf-8"))
        text = text.replace(tag, "") if name.endswith(".js") else text.replace(tag, part)
        if name.endswith(".js"):  # runs when all before it is there
            text = text.replace("</body>", f"{part}\n</body>")
    return text

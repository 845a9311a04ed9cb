"""Notebooks of docs/ as pages: text and code. They are kept without outputs, so none are shown."""

from __future__ import annotations

import json

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            cells = json.loads(file.content_string)["cells"]
            text = "\n\n".join(_markdown(cell["cell_type"], "".join(cell["source"])) for cell in cells)
            place = file.src_uri.removesuffix(".ipynb") + ".md"
            files.append(File.generated(config, place, content=text + "\n"))
    return files


def _markdown(kind: str, source: str) -> str:
    return source if kind == "markdown" else f"```python\n{source}\n```"

"""The gallery: each figure of a report, drawn when the site is made by the code that draws any report.

The run is the tests' own, of simulated predictions; the page says so.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
HEAD = """# Gallery of figures

Every figure of a report, of **simulated predictions**: a search leaves them as files under `figures/`, and
all of them in [one page]({page}). [How to read them](report.md).
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    sys.path.insert(0, str(ROOT))
    from ehrbench.report import write_report
    from tests.report.folders import Sketch, write_run

    parts = [HEAD.format(page="gallery/report.html")]
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder) / "run", Sketch(cohort="simulated", n_bootstrap=50))
        page = write_report(run).read_bytes()
        files.append(File.generated(config, "gallery/report.html", content=page))
        for path in sorted((run / "figures").glob("*.svg")):
            picture = path.read_text(encoding="utf-8")
            files.append(File.generated(config, f"gallery/{path.name}", content=picture))
            title, caption = re.findall(r"<(?:title|desc)>(.*?)</(?:title|desc)>", picture)[:2]
            parts.append(f"## {title}\n\n![{title}](gallery/{path.name})\n\n{caption}\n")
    files.append(File.generated(config, "gallery.md", content="\n".join(parts)))
    return files

"""A page for each package of ehrbench, with the docstrings of whatever public modules are there."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).resolve().parents[2] / "ehrbench"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages where the navigation says ``api/``."""
    pages: list[object] = ["api/index.md", *({name: f"api/{name}.md"} for name in packages())]
    config.nav = [{"API": pages} if entry == {"API": "api/"} else entry for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    front = "# Python\n\n::: ehrbench\n    options: {members: false}\n\n::: ehrbench.app.python.api\n"
    files.append(File.generated(config, "api/index.md", content=front))
    for name in packages():
        modules = [f"ehrbench.{name}", *modules_of(name)]
        text = "\n".join(f"::: {module}\n" for module in modules)
        files.append(File.generated(config, f"api/{name}.md", content=f"# ehrbench.{name}\n\n{text}"))
    return files


def packages() -> list[str]:
    return sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def modules_of(package: str) -> list[str]:
    """Dotted names of the package's modules, those of inner packages included, private ones not."""
    found = []
    for path in sorted((PACKAGE / package).rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        if path.parent != PACKAGE / package or parts[-1] != "__init__":
            name = ".".join(part for part in parts if part != "__init__")
            if not any(part.startswith("_") for part in name.split(".")):
                found.append(name)
    return found

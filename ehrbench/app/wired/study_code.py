"""Study code: what a study uses, module by module, so that it never mixes two versions of a model.

What counts is what its model, featurizer, task and metric import, and what these import in turn, as far as it
is ehrbench's own or a plugin's: a new network beside them is no other study. Comments, docstrings and layout
do not count, only what Python would run. Imports are read from the text, nothing is run; one that is made by
name (``import_module``) is not seen.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from ehrbench.core.digest import digest

OWN = "ehrbench"
#: In place of a digest, of a module that has no text.
NO_SOURCE = "no source"


def sources(*modules: str) -> dict[str, str]:
    """Module -> digest of its code, of these modules and of all that they import of their own packages."""
    packages = frozenset({OWN, *(module.partition(".")[0] for module in modules)})
    found: dict[str, str] = {}
    left = list(modules)
    while left:
        name = left.pop()
        if name == OWN or name in found:  # the package's own front door opens onto everything
            continue
        path = _file(name)
        found[name] = NO_SOURCE if path is None else _digest(path)
        if path is not None:
            left += _imports(path, name, packages)
        left += [name.rpartition(".")[0]] * ("." in name)  # Python runs the packages around it first
    return dict(sorted(found.items()))


def files_of(modules: Iterable[str]) -> dict[str, Path]:
    """Module -> the file with its text, of those that have one."""
    found = {name: _file(name) for name in modules}
    return {name: path for name, path in found.items() if path is not None}


@functools.cache
def _digest(path: Path) -> str:
    return digest(bare(path.read_text(encoding="utf-8")))[:16]


@functools.cache
def _imports(path: Path, name: str, packages: frozenset[str]) -> tuple[str, ...]:
    """Modules of ``packages`` that the module at a path imports, anywhere in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    around = name if path.name == "__init__.py" else name.rpartition(".")[0]
    mentioned = (module for node in _running(tree) for module in _mentioned(node, around))
    ours = (module for module in mentioned if module.partition(".")[0] in packages)
    return tuple(module for module in dict.fromkeys(ours) if _file(module) is not None)


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a tree, less what stands there for type checkers alone."""
    yield tree
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")):
            yield from _running(node)


def _mentioned(node: ast.AST, around: str) -> Iterator[str]:
    """What an import may name: of ``from a import b``, the module ``a`` and the module ``a.b``."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        parts = around.split(".")
        above = parts[: len(parts) - node.level + 1] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def _file(name: str) -> Path | None:
    """The text of a module, found by its package's folders; None where there is none."""
    top, *inner = name.split(".")
    for folder in _folders(top):
        stem = folder.joinpath(*inner)
        for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
            if path.is_file():
                return path
    return None


@functools.cache
def _folders(top: str) -> Sequence[Path]:
    """Where a package lies; of a module without a package, its name there."""
    try:
        spec = find_spec(top)
    except ValueError:  # made in memory
        spec = None
    if spec is None:
        return ()
    if spec.submodule_search_locations is not None:
        return [Path(place) for place in spec.submodule_search_locations]
    return [Path(spec.origin).with_suffix("")] if spec.origin else ()


def bare(source: str) -> str:
    """The syntax tree of a module without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)

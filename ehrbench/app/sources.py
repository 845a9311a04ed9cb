"""Sources: a digest of the code that shapes a fit, so that a study never mixes two versions of a model.

Comments, docstrings and layout do not count: only what Python would run.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import ehrbench
from ehrbench.core.digest import digest

#: Packages whose code shapes what a fit learns; data and folds have digests of their own.
SHAPING = ("features", "models", "nets", "metrics")


@functools.cache
def code_digest() -> str:
    """Digest of the running code under ``SHAPING``."""
    root = Path(ehrbench.__file__).parent
    files = sorted(path for package in SHAPING for path in (root / package).rglob("*.py"))
    return digest(
        {path.relative_to(root).as_posix(): bare(path.read_text(encoding="utf-8")) for path in files}
    )


def bare(source: str) -> str:
    """The syntax tree of a module without its docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return ast.dump(tree)

"""Views on disk: folders of plain arrays, so that a second start need not featurize again.

Only what treats each record by itself is ever stored; what is fitted across records is not (a scaler learned
on all patients and read back in a fold would be a leak). A folder is written beside its place and renamed
into it, so no reader meets half of one; each array carries a checksum, which is looked at where a file's
size or time is another than when it was written, and a damaged folder is removed and made again. A disk that
cannot be written costs time, never a result.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ehrbench.core.digest import digest
from ehrbench.core.records import Records
from ehrbench.core.views import Bag, Image, Sequence, Signal, Table, Tokens, View

INDEX = "index.json"
_VIEWS: dict[str, type] = {view.__name__: view for view in (Table, Sequence, Signal, Image, Tokens, Bag)}


@dataclass(frozen=True)
class RowStore:
    """Unfitted views of one cohort, one folder each; the newest ``keep`` stay.

    folder: belongs to this cohort alone; its name must cover the cohort's content.
    """

    folder: Path
    keep: int = 8

    def get(self, key: str, compute: Callable[[], View]) -> View:
        """The view that ``key`` and the code of this package name; computed and stored when not there."""
        place = self.folder / f"rows-{digest(key, source_digest(Path(__file__).parent))[:32]}"
        found = read_folder(place)
        if found is not None:
            arrays, facts = found
            plain = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["plain"].items()}
            stored: View = _VIEWS[facts["view"]](**arrays, **plain)
            return stored
        view = compute()
        parts = {f.name: getattr(view, f.name) for f in fields(view)}  # type: ignore[arg-type]
        arrays = {name: x for name, x in parts.items() if isinstance(x, np.ndarray)}
        plain = {name: x for name, x in parts.items() if name not in arrays}
        if write_folder(place, arrays, {"view": type(view).__name__, "plain": plain}):
            self._forget_oldest()
        return view

    def _forget_oldest(self) -> None:
        folders = sorted(self.folder.glob("rows-*"), key=lambda p: p.stat().st_mtime_ns, reverse=True)
        for old in folders[self.keep :]:
            shutil.rmtree(old, ignore_errors=True)


def write_folder(folder: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> bool:
    """Write arrays and JSON-like facts as one folder, all or nothing; False and a warning if it cannot."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            index: dict[str, Any] = {"facts": dict(facts), "crc32": {}, "written": {}}
            for name, array in arrays.items():
                plain = np.ascontiguousarray(array)
                np.save(draft / f"{name}.npy", plain, allow_pickle=False)
                index["crc32"][name] = _crc32(plain)
                index["written"][name] = _written(draft / f"{name}.npy")
            (draft / INDEX).write_text(json.dumps(index), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        if folder.is_dir():  # another process was quicker
            return True
        warnings.warn(
            f"cannot keep {folder.parent} ({error.strerror}): goes on without a cache", stacklevel=2
        )
        return False
    return True


def read_folder(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Arrays (memory-mapped, read-only) and facts of a folder; None if absent or damaged."""
    if not folder.is_dir():
        return None
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        arrays: dict[str, np.ndarray] = {}
        for name, crc32 in index["crc32"].items():
            path = folder / f"{name}.npy"
            array = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
            if _written(path) != index["written"][name] and _crc32(array) != crc32:
                raise ValueError(f"{name} was altered")
            arrays[name] = array
        return arrays, index["facts"]
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _written(path: Path) -> list[int]:
    """Size and time of writing: where both are as they were, the bytes need not be read to be believed."""
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _crc32(array: np.ndarray) -> int:
    return zlib.crc32(array.reshape(-1).view(np.uint8).data)


def source_digest(*paths: Path) -> str:
    """Digest of Python sources (files, or folders of them): a change of code is a change of content."""
    files = [f for path in paths for f in (sorted(path.glob("*.py")) if path.is_dir() else [path])]
    return digest([[file.name, file.read_bytes()] for file in files])


def stored_rows(key: str, records: Records, compute: Callable[[], View]) -> View:
    """``compute()``, by way of the disk where the records' payload is a whole cohort with a ``store``."""
    store = getattr(records.payload, "store", None)
    return compute() if store is None else store.get(key, compute)

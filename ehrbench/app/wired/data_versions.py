"""Versions of data, as DVC has recorded them: they stand in ``summary.json`` beside the search's own digest.

The digest speaks of records as they were read, DVC's hash of files as they lay; neither is made from the
other. DVC need not be installed: ``dvc.lock`` and ``*.dvc`` are YAML. Nothing is hashed again, which would
take minutes on images; whether the files are still those recorded is told by their number and size.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from ehrbench.app.composed.blocks import Data
from ehrbench.core.errors import DataError


def recorded_versions(data: Data) -> dict[str, dict[str, Any]]:
    """Path within DVC's repository -> {md5, as_recorded}, of all that DVC keeps where the search reads.

    as_recorded: whether number and size of the files are those that DVC has written down; hidden ones
    (caches) do not count. Empty without a repository of DVC around the data. Raises DataError for a broken
    file of DVC.
    """
    own = (data.file, data.test_file, data.labels, data.descriptors)
    places = [Path(place) for place in own if place] or [Path(data.root)]
    found = {}
    for place in (place.resolve() for place in places):
        for repository, path, out in _outs_around(place):
            if "md5" in out and path.exists() and (path.is_relative_to(place) or place.is_relative_to(path)):
                as_recorded = _extent(path) == (out.get("nfiles", 1), out.get("size"))
                name = path.relative_to(repository).as_posix()
                found[name] = {"md5": str(out["md5"]), "as_recorded": as_recorded}
    return dict(sorted(found.items()))


def _outs_around(place: Path) -> Iterator[tuple[Path, Path, Mapping[str, Any]]]:
    """(repository, path, out) of every file of DVC in the folders from the repository's down to the place."""
    folders = [place, *place.parents]
    repository = next((folder for folder in folders if (folder / ".dvc").is_dir()), None)
    if repository is None:
        return
    for folder in folders[: folders.index(repository) + 1]:
        for file in sorted([*folder.glob("*.dvc"), *folder.glob("dvc.lock")]):
            if file.is_file():
                for path, out in _outs_of(file):
                    if path.is_relative_to(repository):
                        yield repository, path, out


def _outs_of(file: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        stages = content["stages"].values() if file.name == "dvc.lock" else [content]
        for stage in stages:
            for out in stage.get("outs", ()):
                yield Path(os.path.normpath(file.parent / stage.get("wdir", ".") / out["path"])), out
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        problem = f"is no file of DVC ({type(error).__name__})"
        raise DataError(
            problem, file=file, remedy="restore it from git, or make it again: dvc commit"
        ) from None


def _extent(path: Path) -> tuple[int, int]:
    """Number and bytes of the files there."""
    if path.is_file():
        return 1, path.stat().st_size
    sizes = []
    for folder, folders, files in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        sizes += [(Path(folder) / name).stat().st_size for name in files if not name.startswith(".")]
    return len(sizes), sum(sizes)

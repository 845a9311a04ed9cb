"""Decoded images: a publisher's images, decoded and drawn out to one size, once and in parallel.

They are kept as one array of bytes on disk, under the cache, in a folder named by all that shapes it: the
files' marks, the size, and the code that decodes. A later start maps it and reads what it needs. A file that
cannot be decoded is skipped and listed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import ehrbench.tasks.radiographs
from ehrbench.core.digest import digest
from ehrbench.core.errors import DataError
from ehrbench.core.progress import Progress
from ehrbench.core.task import Skipped
from ehrbench.core.types import BoolArray, IntArray
from ehrbench.features.stored import RowStore, read_folder, source_digest, write_folder
from ehrbench.publishers.caching import cache_folder
from ehrbench.publishers.radiographs.image_files import ImageFile
from ehrbench.tasks.radiographs.decoding import decoded
from ehrbench.tasks.radiographs.reading import in_parallel


@dataclass(frozen=True)
class DecodedImages:
    """pixels (K, size, size) uint8, 0 where ``good`` (K,) is false; store: for rows of this cohort."""

    pixels: IntArray
    good: BoolArray
    skipped: tuple[Skipped, ...]
    store: RowStore | None


def decode_images(
    files: Sequence[tuple[str, ImageFile]], size: int, root: Path, progress: Progress, *, cache: bool
) -> DecodedImages:
    """The images of (name, file), in order.

    root: of the data; the cache lies there unless $EHRBENCH_CACHE says otherwise.
    """
    code = source_digest(Path(ehrbench.tasks.radiographs.__file__).parent)
    key = digest([[name, *file.mark] for name, file in files], code, size)
    folder = cache_folder(root) if cache else None
    place = None if folder is None else folder / f"xray-{key[:32]}"
    store = None if place is None else RowStore(place)
    found = None if place is None else read_folder(place / "pixels")
    if found is None:
        with tempfile.TemporaryDirectory(prefix=".pixels.", dir=_writable(folder)) as draft:
            shape = (len(files), size, size)
            pixels = np.lib.format.open_memmap(
                Path(draft) / "pixels.npy", mode="w+", dtype=np.uint8, shape=shape
            )
            skipped = _decode(files, size, pixels, progress)
            facts = {"skipped": [[s.file, s.record, s.field, s.problem] for s in skipped]}
            if place is not None and write_folder(place / "pixels", {"pixels": pixels}, facts):
                found = read_folder(place / "pixels")
            if found is None:
                found, store = ({"pixels": np.array(pixels)}, facts), None
    arrays, facts = found
    skipped = tuple(Skipped(*one) for one in facts["skipped"])
    lost = {one.file for one in skipped}
    good = np.array([name not in lost for name, _ in files], dtype=bool)
    return DecodedImages(arrays["pixels"], good, skipped, store)


def _writable(folder: Path | None) -> Path | None:
    """The cache, where the draft can be beside its place; else the system's own folder for such."""
    try:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder


def _decode(
    files: Sequence[tuple[str, ImageFile]], size: int, out: IntArray, progress: Progress
) -> tuple[Skipped, ...]:
    """Fill ``out``; what could not be decoded."""

    def one(item: tuple[int, tuple[str, ImageFile]]) -> Skipped | None:
        k, (name, file) = item
        try:
            out[k] = decoded(name, file.read(), size)
        except DataError as error:
            return Skipped(name, name.rsplit("/", 1)[-1], str(error.field or "image"), error.problem)
        return None

    skipped = []
    with progress.step("Decoding images", total=len(files)) as step:
        for problem in in_parallel(one, enumerate(files)):
            step.advance()
            if problem is not None:
                skipped.append(problem)
    return tuple(skipped)

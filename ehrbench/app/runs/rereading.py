"""The data read again with the outcomes exchanged among records: no record's content may notice."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ehrbench.app.wired.wiring import Wired, settled
from ehrbench.core.digest import derive_seed
from ehrbench.core.progress import Progress
from ehrbench.spine.certificate import NotClean


def read_relabelled(wired: Wired, progress: Progress) -> int | None:
    """How many records were compared; None where the publisher does not say where its outcomes stand.

    Raises NotClean naming the first record whose content rests on outcomes, its own or others'.
    """
    publisher = settled(wired.settings, progress)[1]
    root, seed = Path(wired.settings.data.root), derive_seed(wired.search.seed, "relabelled")
    with tempfile.TemporaryDirectory(prefix="ehrbench-") as place:
        twin = publisher.relabelled(root, Path(place), seed)
        if twin is None:
            return None
        again = twin[0].read(twin[1], wired.cohort.sets, progress).records
        digests = dict(zip(again.ids.tolist(), again.digests.tolist(), strict=True))
    records = wired.cohort.records
    pairs = zip(records.ids.tolist(), records.digests.tolist(), strict=True)
    other = [record for record, content in pairs if digests.get(record, content) != content]
    if other:
        raise NotClean(
            f"{type(publisher).__name__}.read: {len(other):,} of {len(records):,} records have another "
            f"content once outcomes are exchanged among records, {other[0]} the first — what is read of a "
            "record may rest on no outcome",
            other,
        )
    return len(digests)

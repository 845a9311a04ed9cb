"""The data read again with contents exchanged among records: what is read of one may rest on nothing else.

A content goes under another record's outcomes, so one that was made of outcomes (target encoding) comes out
otherwise; and an outer test's are replaced by a few of its own, so that whatever was computed of all records
together (a mean, a scale, a vocabulary) is another, and with it what was read of the training records.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from ehrbench.app.wired.wiring import Wired, settled
from ehrbench.core.digest import derive_seed
from ehrbench.core.progress import Progress
from ehrbench.core.types import IntArray
from ehrbench.spine.certificate import NotClean
from ehrbench.spine.folds import OuterFold

#: Of so many outer-test records one gives its content to all.
_REPLACED_BY = 20


def read_exchanged(wired: Wired, fold: OuterFold, progress: Progress) -> int | None:
    """How many records were compared; None where the publisher does not say what is content in its source.

    Raises NotClean naming the first record whose content is not that of its donor any more.
    """
    records = wired.cohort.records
    publisher = settled(wired.settings, progress)[1]
    donors = _donors(wired, fold)
    ids = records.ids.tolist()
    with tempfile.TemporaryDirectory(prefix="ehrbench-") as place:
        named = dict(zip(ids, records.ids[donors].tolist(), strict=True))
        twin = publisher.with_contents(Path(wired.settings.data.root), Path(place), named)
        if twin is None:
            return None
        again = twin[0].read(twin[1], wired.cohort.sets, progress).records
        found = dict(zip(again.ids.tolist(), again.digests.tolist(), strict=True))
    expected = records.digests[donors].tolist()
    tested = {ids[i] for i in fold.test}  # of those with one content a publisher may make one record
    other = [
        record
        for record, content in zip(ids, expected, strict=True)
        if found.get(record, content if record in tested else None) != content
    ]
    if other:
        raise NotClean(
            f"{type(publisher).__name__}.read: {len(other):,} of {len(ids):,} records have another "
            f"content once contents are exchanged among records, {other[0]} the first — what is read of a "
            "record may rest on no outcome, and on no other record",
            other,
        )
    return len(found.keys() & set(ids))


def _donors(wired: Wired, fold: OuterFold) -> IntArray:
    """(N,) whose content each record gets: of its own set any training record's, or one of a few tested."""
    rng = np.random.default_rng(derive_seed(wired.search.seed, "exchanged", fold.name))
    tested = np.zeros(len(wired.cohort.records), dtype=bool)
    tested[fold.test] = True
    donors = np.arange(len(tested))
    for name in np.unique(wired.cohort.set_of):
        of_set = wired.cohort.set_of == name
        rest, test = np.flatnonzero(of_set & ~tested), np.flatnonzero(of_set & tested)
        donors[rest] = rng.permutation(rest)
        if len(test):
            donors[test] = rng.choice(rng.permutation(test)[: -(-len(test) // _REPLACED_BY)], len(test))
    return donors

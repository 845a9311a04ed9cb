"""A simulated cohort of a real task."""

from ehrbench.core.task import Cohort, Publisher


def cohort(publisher: Publisher, root, n_records: int, monkeypatch) -> Cohort:
    monkeypatch.setenv("EHRBENCH_CACHE", str(root / "cache"))
    publisher.simulate(root / "data", n_records, 0)
    return publisher.read(root / "data", publisher.default_sets())

"""A simulated cohort of a real task."""

from ehrbench.core.task import Cohort, Task


def cohort(task: Task, root, n_records: int, monkeypatch) -> Cohort:
    monkeypatch.setenv("EHRBENCH_CACHE", str(root / "cache"))
    task.simulate(root / "data", n_records, 0)
    return task.read(root / "data", task.default_sets())

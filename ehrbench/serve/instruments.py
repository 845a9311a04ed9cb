"""Instruments: what a server counts of itself, as Prometheus reads it; never a record's id or value.

Each server has a registry of its own. Probabilities are counted by NumPy, since a day has 100,000 beats.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.core import (
    Metric as Family,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from ehrbench.core.types import FloatArray
from ehrbench.runtime import Bundle

#: Seconds: a record takes milliseconds, a batch of notes a minute.
LATENCIES_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
PROBABILITIES = np.round(np.arange(0.05, 1.0001, 0.05), 2)  # upper edges
#: Classes of one bundle that have a histogram of their own.
MOST_CLASSES = 40


class Instruments:
    """Counters of one server. Threads may count at once."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter("requests", "Requests by path and status", "path", "status")
        self.seconds = Histogram(
            "ehrbench_request_seconds",
            "Time to the end of an answer",
            ["path"],
            buckets=LATENCIES_S,
            registry=self.registry,
        )
        self.records = self._counter("records", "Predicted records", "alias")
        self.feedback = self._counter("feedback", "Outcomes told")
        self.probabilities = ProbabilityHistogram()
        self.registry.register(self.probabilities)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """One request; ``path`` is a route's own, so that nobody can make up more."""
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def predicted(self, alias: str, bundle: Bundle, n_records: int, probabilities: FloatArray) -> None:
        """One request's predictions: (U, C)."""
        self.records.labels(alias).inc(n_records)
        self.probabilities.add(alias, bundle, probabilities)

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, says: str, *labels: str) -> Counter:
        return Counter(f"ehrbench_{name}", says, labels, registry=self.registry)


class ProbabilityHistogram:
    """Calibrated probabilities by alias, version and class, in twenty bins."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], tuple[np.ndarray, float]] = {}

    def add(self, alias: str, bundle: Bundle, probabilities: FloatArray) -> None:
        for column, name in enumerate(bundle.manifest.target.classes[:MOST_CLASSES]):
            key, p = (alias, bundle.digest[:12], name), probabilities[:, column]
            new = np.bincount(np.searchsorted(PROBABILITIES, p), minlength=len(PROBABILITIES) + 1)
            counts, total = self._counts.get(key, (np.zeros_like(new), 0.0))
            self._counts[key] = counts + new, total + float(p.sum())

    def collect(self) -> Iterable[Family]:
        labels = ["alias", "version", "class"]
        family = HistogramMetricFamily("ehrbench_probability", "Predicted probabilities", labels=labels)
        for key, (counts, total) in list(self._counts.items()):
            edges = [*(f"{edge:g}" for edge in PROBABILITIES), "+Inf"]
            upto = np.cumsum(counts).tolist()
            family.add_metric(key, list(zip(edges, upto, strict=True)), total)
        yield family


def gauge(name: str, says: str, value: float) -> Family:
    """One number as it stands now."""
    return GaugeMetricFamily(f"ehrbench_{name}", says, value=value)


def counter(name: str, says: str, value: float) -> Family:
    """A count that somebody else keeps."""
    return CounterMetricFamily(f"ehrbench_{name}", says, value=value)


def info(name: str, says: str, rows: Iterable[dict[str, str]]) -> Family:
    """Facts that change with a deployment."""
    found = list(rows)
    family = InfoMetricFamily(f"ehrbench_{name}", says, labels=[])
    for row in found:
        family.add_metric([], row)
    return family

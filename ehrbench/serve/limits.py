"""Limits of a server and of what it keeps, with defaults for one bundle on a small machine."""

from __future__ import annotations

from dataclasses import dataclass

from ehrbench.core.errors import ConfigError


@dataclass(frozen=True)
class ServeSettings:
    """What one server may use.

    threads: cores one prediction may use; device: where networks run, ``cpu`` or ``cuda``.
    concurrency: predictions at once; max_waiting: requests that may wait for their turn, more are told to
        come back (503).
    max_body_bytes, max_records, max_units: of one request; more is refused (413). A day has some 100,000
        beats, and a server takes about 4 kB for each while it predicts.
    max_streams: batches that are read and answered at once (``/predict/batch``); more are told to come back.
    body_timeout_s: for a body to arrive (of a stream: its next part); a slower client is answered 408 and
        lets go.
    rate: requests a second of one client, in the long run; twice as many may come at once, more are told to
        come back (429). 0: any number.
    watch_s: between two looks whether an alias has moved. monitor_s: between two looks at what the store has
        of what was predicted (``watching``).
    """

    threads: int = 1
    device: str = "cpu"
    concurrency: int = 2
    max_waiting: int = 64
    max_body_bytes: int = 8 * 1024 * 1024
    max_records: int = 1000
    max_units: int = 200_000
    max_streams: int = 8
    body_timeout_s: float = 60
    rate: float = 0
    watch_s: float = 2
    monitor_s: float = 300

    def __post_init__(self) -> None:
        for name in ("threads", "concurrency", "max_body_bytes", "max_records", "max_units", "max_streams"):
            if getattr(self, name) < 1:
                raise ConfigError(f"serve.{name}", f"{getattr(self, name)} is less than 1", "give 1 or more")
        if not self.body_timeout_s > 0:
            problem = f"{self.body_timeout_s:g} leaves no time"
            raise ConfigError("serve.body_timeout_s", problem, "give seconds above 0")
        for name in ("max_waiting", "rate"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"serve.{name}", f"{getattr(self, name)} is negative", "give 0 or more")
        for name in ("watch_s", "monitor_s"):
            if not (given := getattr(self, name)) > 0:
                raise ConfigError(f"serve.{name}", f"{given:g} leaves no time", "give seconds above 0")
        if self.device not in ("cpu", "cuda"):
            raise ConfigError("serve.device", f"{self.device!r} is unknown", "give cpu or cuda")


@dataclass(frozen=True)
class StoreSettings:
    """What a server keeps of its predictions, and how much of it may wait to be written.

    inputs: whether posted bodies are kept, beside what was predicted of them. retention_days: after which all
        of it is deleted. max_waiting_records, max_waiting_bytes: more is dropped and counted.
    """

    inputs: bool = False
    retention_days: float = 90
    max_waiting_records: int = 10_000
    max_waiting_bytes: int = 64 * 1024 * 1024

    def __post_init__(self) -> None:
        if not self.retention_days > 0:
            problem = f"{self.retention_days:g} days keep nothing"
            raise ConfigError("serve.retention_days", problem, "give days above 0, or no store")

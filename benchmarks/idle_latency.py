"""What a request costs an idle server, beside a bare FastAPI app under uvicorn in the same run.

    python -m benchmarks.idle_latency [runs/STUDY/bundle]

One client with one kept-open connection asks one thing at a time: the health check of both servers in turn,
then ``/predict`` with the task's own example. Both servers write one log line a request. Last, without HTTP,
the CPU time that a record takes alone and as one of 200, from parsing to probability. Without a bundle, one
of the mortality task is made from simulated patients. The health check should stay within 1.5 times the bare
app's median: answers in two packets, the second held back by Nagle's algorithm, took 100 times as long.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np

from ehrbench.runtime import Bundle
from tests.serve.mortality import mortality_bundle

BARE = """
import sys, uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/healthz")
async def health() -> dict[str, str]:
    return {"status": "ok"}
uvicorn.run(app, port=int(sys.argv[1]))
"""
#: Times to the bare app's median that the health check may take.
MOST = 1.5


@contextmanager
def served(*command: str) -> Iterator[http.client.HTTPConnection]:
    """A connection to the server that ``command`` and a port start, once it is well."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, *command, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            with suppress(ConnectionRefusedError):
                connection.request("GET", "/healthz")
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    break
            assert process.poll() is None, f"{' '.join(command)} has ended"
            time.sleep(0.05)
        yield connection
    finally:
        process.terminate()
        process.wait()


def times_ms(connection: http.client.HTTPConnection, n: int, *request: object, **headers: str) -> list[float]:
    """Milliseconds of each of ``n`` requests, one after another on one connection, which is open already."""
    connection.close()  # a server does not wait for ever between two series
    taken = []
    for _ in range(n + 1):
        began = time.perf_counter()
        connection.request(*request, headers=headers)  # type: ignore[arg-type]
        answer = connection.getresponse()
        answer.read()
        taken.append(1000 * (time.perf_counter() - began))
        assert answer.status == 200, answer.status
    return taken[1:]


def cpu_ms(bundle: Bundle, n_together: int, seconds: float = 5) -> float:
    """CPU milliseconds of one record among ``n_together``, from raw input to probability; the least seen."""
    example, least, began = [bundle.task.example()] * n_together, np.inf, time.perf_counter()
    while time.perf_counter() - began < seconds:
        before = time.process_time()
        bundle.predict(bundle.task.parse(example, strict=True).records)
        least = min(least, time.process_time() - before)
    return 1000 * float(least) / n_together


def shown(name: str, taken: list[float]) -> float:
    """Prints one line; the median."""
    p50, p95, p99 = np.quantile(taken, [0.5, 0.95, 0.99])
    print(f"{name:28} p50 {p50:7.2f} ms   p95 {p95:7.2f} ms   p99 {p99:7.2f} ms")
    return float(p50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--requests", type=int, default=2000)
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.bundle is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            options.bundle, _, _ = mortality_bundle(Path(folder))
        bundle = Bundle.load(options.bundle)
        example = bundle.task.example().body
        serve = ("-m", "ehrbench.app.command.cli", "serve", "--bundle", str(options.bundle), "--port")
        one, other = stack.enter_context(served(*serve)), stack.enter_context(served("-c", BARE))
        mine: list[float] = []
        theirs: list[float] = []
        for _ in range(10):  # in turn, so that a busy moment meets both
            mine += times_ms(one, options.requests // 10, "GET", "/healthz")
            theirs += times_ms(other, options.requests // 10, "GET", "/healthz")
        ratio = shown("GET /healthz", mine) / shown("GET /healthz, bare app", theirs)
        kind = {"Content-Type": "text/plain" if isinstance(example, bytes) else "application/json"}
        body = example if isinstance(example, bytes) else json.dumps(example)
        predictions = times_ms(one, options.requests // 4, "POST", "/predict", body, **kind)
        shown("POST /predict, one record", predictions)
        alone, together = cpu_ms(bundle, 1), cpu_ms(bundle, 200)
        print(f"a record in process: {alone:.2f} ms of CPU alone, {together:.2f} ms as one of 200")
        print(f"health check: {ratio:.2f} times the bare app's median")
    sys.exit(0 if ratio <= MOST else f"more than {MOST} times")


if __name__ == "__main__":
    main()

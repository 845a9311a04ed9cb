"""What a server spends on a request, beside the bare path in its process, and how long clients wait.

    python -m benchmarks.serving [runs/STUDY/bundle] [--clients 4] [--seconds 10]

CPU seconds a request are the server's own (``/metrics``) under four clients that post the task's example; the
bare path is parse, featurizers, members and ensemble of the same record in a loop, without HTTP, in this
process. Their ratio hardly depends on what else the machine does; the waits do. With ``--store`` predictions
and inputs are kept, too. Without a bundle, a small one of the mortality task is made from simulated patients:
HTTP, a thread's turn and a log line take about as long whatever the model, so a small model looks worst. The
server should spend its time on predicting: at least 60 % of the bare path's throughput by CPU.
"""

from __future__ import annotations

import argparse
import http.client
import re
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.idle_latency import served
from ehrbench.app.command.load_testing import load
from ehrbench.runtime import Bundle
from tests.serve.mortality import mortality_bundle

#: Of the bare path's throughput, by CPU.
LEAST = 0.6
ROUNDS = 4


def bare_ms(bundle: Bundle, seconds: float) -> float:
    """CPU milliseconds of one record, from raw input to probability, on average."""
    example, n, began, before = bundle.task.example(), 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        bundle.predict(bundle.task.parse([example], strict=True).records)
        n += 1
    return 1000 * (time.process_time() - before) / n


def cpu_s(connection: http.client.HTTPConnection) -> float:
    """What the server's process has spent so far."""
    connection.close()
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    found = re.search(r"^process_cpu_seconds_total (\S+)", text, re.MULTILINE)
    assert found is not None
    return float(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path, nargs="?")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.bundle is None:
            options.bundle, _, _ = mortality_bundle(folder)
        bundle = Bundle.load(options.bundle)
        example, kind = bundle.task.example().body, bundle.task.forms[0].media_types[0]
        assert isinstance(example, bytes)
        kept = ["--store", str(folder / "kept.db"), "--keep-inputs"] if options.store else []
        serve = ("-m", "ehrbench.app.command.cli", "serve", "--bundle", str(options.bundle), *kept, "--port")
        connection = stack.enter_context(served(*serve))
        url = f"http://127.0.0.1:{connection.port}"
        kind = kind.replace("*", "plain")
        load(url, example, kind, options.clients, 1)  # warm
        parts, bares, spent = [], [], 0.0
        for _ in range(ROUNDS):  # in turn, so that a machine that others use slows both alike
            bares.append(bare_ms(bundle, 1.5))
            before = cpu_s(connection)
            parts.append(load(url, example, kind, options.clients, options.seconds / ROUNDS))
            spent += cpu_s(connection) - before
        n_requests, errors = sum(p.n_requests for p in parts), sum(p.errors.total() for p in parts)
        server, bare = 1000 * spent / n_requests, sum(bares) / ROUNDS
        for part in parts:
            waits = "   ".join(
                f"p{share * 100:g} {part.quantile(share):.1f} ms" for share in (0.5, 0.95, 0.99)
            )
            print(f"{options.clients} clients: {part.n_requests / part.seconds:.0f} a second   {waits}")
        print(f"CPU a request: {server:.2f} ms in the server, {bare:.2f} ms of the bare path")
        print(f"throughput by CPU: {bare / server:.0%} of the bare path's; errors: {errors}")
    sys.exit(0 if bare / server >= LEAST and not errors else f"less than {LEAST:.0%}, or errors")


if __name__ == "__main__":
    main()

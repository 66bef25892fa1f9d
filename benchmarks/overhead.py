"""The cost of metrics and traces: CPU time per order with both, with metrics only, and with neither.

    .venv/bin/python scripts/services.py exec -- .venv/bin/python -m benchmarks.overhead

Each variant runs in its own process, set up as in a deployment, with the default sampling of traces; in each round
every variant runs the same number of orders. The figures are of all steps and relays over an in-memory queue (see
benchmarks/steps.py), so a share here is larger than that of a real order with broker, Celery and request.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from rich.console import Console

from benchmarks.results import FOLDER, Rows, as_table, machine
from benchmarks.steps import Meter
from benchmarks.surroundings import ROOT, Unfit, own_databases, refuse_unfit_surroundings

NEITHER, METRICS, BOTH = "neither", "metrics", "metrics and traces"
TRACED = 20  # one order in so many is traced: the default of TRACE_SAMPLING
SPAN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # of the request that placed it


# --- The process of a variant ----------------------------------------------------------------------------------------
class Traced(Meter):
    """A meter that also creates the batch's span, as Celery's instrumentation does in a worker."""

    def handle(self, step: str, payload: Sequence[Any], headers: dict[str, str]) -> None:
        from opentelemetry import propagate, trace

        context = propagate.extract(headers)
        tracer = trace.get_tracer("benchmark")
        with tracer.start_as_current_span(f"run/{step}", context=context, kind=trace.SpanKind.CONSUMER):
            super().handle(step, payload, headers)


def serve(variant: str) -> None:
    """Answer each line, `limit orders`, with [ms of Python, ms of PostgreSQL] per order."""
    import django
    from celery import current_app
    from django.conf import settings

    django.setup()
    import shop.celery  # noqa: F401 (its tasks are the steps)
    from benchmarks.load import Load, must_be_clean
    from shop.observability import sdk

    current_app.loader.import_default_modules()
    if variant == NEITHER:
        forget_metrics()
    sdk.start()  # for which there is an endpoint, or none
    load = Load()
    if variant == BOTH:
        trace_some()
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        limit, count = map(int, line.split())
        settings.SAGAS = replace(settings.SAGAS, batch_limit=limit)
        meter = Traced() if variant == BOTH else Meter()
        meter.run(load, count)
        begun = time.process_time()
        sdk.flush()
        python = sum(cost.python for cost in meter.costs.values()) + time.process_time() - begun
        postgresql = sum(cost.postgresql for cost in meter.costs.values())
        must_be_clean()
        print(json.dumps([1000 * python / count, 1000 * postgresql / count]), file=answers, flush=True)


def forget_metrics() -> None:
    """Turn metrics off."""
    from prometheus_client import Counter, Gauge, Histogram

    from shop.observability import metrics

    @contextmanager
    def nothing(*_: Any) -> Iterator[None]:
        yield

    metrics.counted = metrics.relayed = nothing  # type: ignore[assignment]
    metrics.moved = lambda *_: None  # type: ignore[assignment]
    for kind, method in ((Counter, "inc"), (Gauge, "set"), (Histogram, "observe")):
        setattr(kind, method, lambda *_: None)


def trace_some() -> None:
    """Trace one in TRACED of the orders that will be placed."""
    from django.db import connections

    with connections["orders"].cursor() as cursor:
        cursor.execute(
            "UPDATE sample_orders_outbox SET payload = (payload::jsonb || jsonb_build_object('trace', %s::text))::json "
            "WHERE sample %% %s = 0",
            [SPAN, TRACED],
        )
        assert cursor.rowcount > 0


# --- The rounds ------------------------------------------------------------------------------------------------------
@contextmanager
def collector() -> Iterator[str]:
    """Run a server that accepts and discards spans; yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Variant:
    """A process that measures one variant."""

    def __init__(self, name: str, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.overhead", "--serve", name],
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, limit: int, count: int) -> list[float]:
        assert self._process.stdin
        assert self._process.stdout
        print(limit, count, file=self._process.stdin, flush=True)
        if not (answer := self._process.stdout.readline()):
            raise Unfit("A process has ended before it was asked to.")
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def measure(limits: Sequence[int], rounds: int, console: Console) -> dict[str, Any]:
    """{limit: {variant: {"python": [ms per order, …], "postgresql": …}}}"""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        counting = {"PROMETHEUS_MULTIPROC_DIR": folder, "BROKER_URL": "memory://"}
        tracing = {"OTEL_EXPORTER_OTLP_ENDPOINT": stack.enter_context(collector())}
        variants = {
            NEITHER: Variant(NEITHER, {"BROKER_URL": "memory://"}),
            METRICS: Variant(METRICS, counting),
            BOTH: Variant(BOTH, counting | tracing),
        }
        for variant in variants.values():
            stack.callback(variant.close)
        found: dict[str, Any] = {}
        for limit in limits:
            count = max(200, 20 * limit)
            for variant in variants.values():
                variant.run(limit, max(50, 3 * limit))  # connections, plans, caches
            taken: dict[str, list[list[float]]] = {name: [] for name in variants}
            for number in range(rounds):
                console.print(f"messages of up to {limit}: round {number + 1} of {rounds}", style="dim")
                order = list(variants) if number % 2 else list(reversed(variants))
                for name in order:
                    taken[name].append(variants[name].run(limit, count))
            found[str(limit)] = {
                name: {"python": [one for one, _ in each], "postgresql": [one for _, one in each]}
                for name, each in taken.items()
            }
        return found


def rows(found: dict[str, Any]) -> Rows:
    """Return the heading and a row for each message size and variant; a share is the median of the rounds' shares."""
    shown: Rows = [("events in a message", "with", "Python, ms", "more", "Python and PostgreSQL, ms", "more")]
    for limit, variants in found.items():
        base = variants[NEITHER]
        for name, one in variants.items():
            both, least = (
                [python + postgresql for python, postgresql in zip(each["python"], each["postgresql"], strict=True)]
                for each in (one, base)
            )
            shown.append(
                (
                    f"up to {limit}",
                    name,
                    f"{statistics.median(one['python']):.3f}",
                    more(one["python"], base["python"]),
                    f"{statistics.median(both):.3f}",
                    more(both, least),
                )
            )
    return shown


def more(values: Sequence[float], base: Sequence[float]) -> str:
    """Return by how much, as the median of the rounds."""
    return f"{100 * (statistics.median(a / b for a, b in zip(values, base, strict=True)) - 1):+.1f} %"


def main(arguments: Sequence[str]) -> int:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__.partition("\n")[0])
    parser.add_argument("--limits", type=int, nargs="+", default=[1, 100], help="events in a message, at most")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the JSON goes (benchmarks/results)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(options.serve)
        return 0
    console = Console()
    try:
        refuse_unfit_surroundings()
        on = machine()
        with own_databases():
            found = measure(options.limits, options.rounds, console)
    except Unfit as unfit:
        console.print(str(unfit), style="red", highlight=False)
        return 2
    except KeyboardInterrupt:
        return 130
    options.out.mkdir(parents=True, exist_ok=True)
    record = {"machine": on, "ms_per_order": found}
    (options.out / "overhead.json").write_text(json.dumps(record, indent=1) + "\n")
    console.print(as_table("Metrics and traces: processor time per order", rows(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

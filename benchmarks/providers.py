"""How many charges a second one process makes at a payment provider, and what a provider that hangs costs the others.

    .venv/bin/python scripts/services.py exec -- .venv/bin/python -m benchmarks.providers

The providers are stand-ins in processes of their own, and answer after 100 ms. What is measured is an adapter and
`payments/gateways/http.py` alone, without the database: the adapters of Stripe, with its library, and of Toss Payments,
whose payments take two requests, one to make and one to confirm.
Then messages of 400 payments at each of two providers, as `payments/gateway_calls.py` asks them, for half a minute;
and again with one that hangs. Figures: how many more seconds a message takes then, of which the first pays most.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import django
import psutil

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()

from benchmarks.results import FOLDER, machine  # noqa: E402
from lab.providers.server import HANG  # noqa: E402
from payments.gateways import Authorization, Captured, Unknown  # noqa: E402
from payments.gateways.stripe import StripeGateway  # noqa: E402
from payments.gateways.toss import TossGateway  # noqa: E402
from shop.contracts.payments import STAND_IN_OPTIONS  # noqa: E402

LATENCY = 0.1  # seconds that an answer takes
BATCH = 800  # payments in a message
MIB = 1024 * 1024
NO_RATE = {"per_second": "0"}  # Stripe takes 100 requests a second of a live account, and its adapter sends 90
SERVE = """
import sys, threading
from lab.providers import server, stripe, toss
one = {{"stripe": stripe.Stripe, "toss": toss.Toss}}[{kind!r}](latency={latency})
one.tell = lambda *_: None
one.faults.rates = {rates!r}
with one:
    print(one.url, flush=True)
    sys.stdin.read()
"""


@contextmanager
def provider(kind: str, **rates: float) -> Iterator[str]:
    """Run a stand-in in its own process; yield its URL."""
    code = SERVE.format(kind=kind, latency=LATENCY, rates=rates)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def payments(first: int, number: int, token: str = "pm_card_visa") -> list[Authorization]:  # nosec B107
    return [
        Authorization(
            key=f"order-{one}-bench", payment=f"order-{one}-bench", order_id=one, amount=33_000, currency="KRW",
            token=token, capture=True, return_url=lambda: "http://127.0.0.1:9/return",
        )
        for one in range(first, first + number)
    ]  # fmt: skip


def charges(gateway: Any, number: int) -> dict[str, float]:
    """Charge this many payments, a batch at a time; return figures per second and per payment."""
    process = psutil.Process()
    gateway.authorize(payments(0, BATCH))  # connections, threads, imports
    memory, began, cpu = process.memory_info().rss, time.perf_counter(), process.cpu_times()
    kinds: dict[str, int] = {}
    for first in range(BATCH, BATCH + number, BATCH):
        for answer in gateway.authorize(payments(first, BATCH)):
            kinds[type(answer).__name__] = kinds.get(type(answer).__name__, 0) + 1
    took, used = time.perf_counter() - began, process.cpu_times()
    done = sum(kinds.values())
    return {
        "per_second": round(done / took, 1),
        "cpu_ms": round(1000 * (used.user + used.system - cpu.user - cpu.system) / done, 2),
        "grown_mib": round((process.memory_info().rss - memory) / MIB, 1),
        "open": kinds.get("Unknown", 0),
    }


def held_up(url: str, other_url: str, seconds: float) -> dict[str, float]:
    """Measure how long messages with payments of two providers take, when each waits for both."""
    asked = [
        StripeGateway(name, STAND_IN_OPTIONS["stripe"] | NO_RATE | {"url": at})
        for name, at in (("A", url), ("B", other_url))
    ]
    took, unknown, first, began = [], 0, 0, time.perf_counter()
    with ThreadPoolExecutor(2) as side_by_side:
        while time.perf_counter() - began < seconds:
            first, at = first + BATCH, time.perf_counter()
            message = payments(first, BATCH // 2)
            answers = [*side_by_side.map(lambda gateway, message=message: gateway.authorize(message), asked)]
            took.append(time.perf_counter() - at)
            assert all(isinstance(answer, Captured) for answer in answers[0])
            unknown += sum(isinstance(answer, Unknown) for answer in answers[1])
    return {
        "message_s": round(sum(took) / len(took), 3),
        "longest_s": round(max(took), 3),
        "messages": len(took),
        "open": unknown,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--payments", type=int, default=8_000, help="for each provider (8000)")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each half of the second part (30)")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/providers.json")
    options = parser.parse_args(arguments)
    found: dict[str, Any] = {}
    for kind, adapter in (("stripe", StripeGateway), ("toss", TossGateway)):
        with provider(kind) as url:
            found[kind] = charges(adapter(kind, STAND_IN_OPTIONS[kind] | NO_RATE | {"url": url}), options.payments)
        print(kind, found[kind], flush=True)
    with provider("stripe") as one, provider("stripe") as other, provider("stripe", **{HANG: 1.0}) as hanging:
        found["both_answer"] = held_up(one, other, options.seconds)
        print("both answer", found["both_answer"], flush=True)
        found["one_hangs"] = held_up(one, hanging, options.seconds)
        print("one hangs", found["one_hangs"], flush=True)
    more = found["one_hangs"]["message_s"] / found["both_answer"]["message_s"] - 1
    print(f"held up by {more:+.0%}")
    if options.keep:
        (FOLDER / "providers.json").write_text(json.dumps({"machine": machine(), "figures": found}, indent=1) + "\n")
    os._exit(0)  # without waiting for the provider that hangs


if __name__ == "__main__":
    main()

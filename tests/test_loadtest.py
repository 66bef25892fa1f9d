"""`manage.py loadtest`: against a shop that misbehaves as told, and once, for real, on servers of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from math import inf
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from shop.loadtest import profiles
from shop.loadtest.compare import NotComparable, compare, differences, read
from shop.loadtest.http import NoAnswer, Server
from shop.loadtest.measure import Clock, Order, answer_times, in_flight, latencies
from shop.loadtest.profiles import Limits, NotPossible
from shop.loadtest.report import page
from shop.loadtest.run import not_held
from tests.fakeshop import PASSWORD, FakeShop, open_for_business

COMMAND = [sys.executable, str(settings.BASE_DIR / "manage.py"), "loadtest"]
LIMITS = Limits(answered=0.5, paid=3.0)
RAMP = {"seed": 1, "answer_limit": 0.5, "paid_limit": 3.0}


@pytest.fixture
def shop():
    with open_for_business() as shop:
        yield shop


@pytest.fixture
def load(shop: FakeShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Plays a profile against the fake shop; the exit code and the results."""
    monkeypatch.setenv("SEED_PASSWORD", PASSWORD)
    monkeypatch.setattr("shop.loadtest.inside.same_shop", lambda evidence: False)

    def play(*arguments: str) -> tuple[int, dict[str, Any]]:
        file = tmp_path / "results.json"
        with pytest.raises(SystemExit) as ended:
            call_command("loadtest", *arguments, f"--url={shop.url}", f"--json={file}")
        return int(ended.value.code or 0), json.loads(file.read_text())

    return play


def findings(found: dict[str, Any]) -> dict[str, bool | None]:
    return {one["what"]: one["good"] for one in found["findings"]}


def detail(found: dict[str, Any], what: str) -> str:
    return next(one["detail"] for one in found["findings"] if one["what"] == what)


# --- Profiles ---------------------------------------------------------------------------------------------------------
def test_a_steady_load_is_a_rate_times_its_seconds():
    profile = profiles.steady(rate=50, seconds=30, seed=1)
    assert [(step.rate, step.count, step.seconds) for step in profile.steps] == [(50, 1500, 30)]
    assert profile.limits is None


def test_a_ramp_goes_up_to_its_end():
    profile = profiles.ramp(rate=20, to=60, seconds=5, **RAMP)
    assert [(step.rate, step.count) for step in profile.steps] == [
        (20, 100),
        (28, 140),
        (39, 195),
        (55, 275),
        (60, 300),
    ]
    assert profile.count == 1010


def test_a_flash_sale_is_at_once_and_of_one_product():
    profile = profiles.flash_sale(buyers=7, items=2)
    assert [(step.rate, step.count, step.seconds) for step in profile.steps] == [(inf, 7, 0)]
    assert [one.body["items"] for one in profile.orders] == [[{"productId": 1, "quantity": 1}]] * 7
    assert profile.stock[1] == 2


def test_a_mixed_load_has_all_kinds_and_one_product_sells_out():
    profile = profiles.mixed(rate=100, seconds=3, seed=1)
    orders = list(profile.orders)
    wanted = dict.fromkeys(profile.stock, 0)
    for order in orders:
        for line in order.body["items"]:
            wanted[line["productId"]] += line["quantity"]
    assert {"normal", "several lines", "hot product", "declined", "cancelled by the customer"} < {
        one.kind for one in orders
    }
    assert [product for product, pieces in wanted.items() if pieces > profile.stock[product]] == [1]


@pytest.mark.parametrize(
    ("play", "options"),
    [
        (profiles.steady, {"rate": 0, "seconds": 1, "seed": 1}),
        (profiles.steady, {"rate": 1, "seconds": -1, "seed": 1}),
        (profiles.steady, {"rate": inf, "seconds": 1, "seed": 1}),
        (profiles.steady, {"rate": float("nan"), "seconds": 1, "seed": 1}),
        (profiles.ramp, {"rate": 10, "to": 9, "seconds": 1, **RAMP}),
        (profiles.flash_sale, {"buyers": 0, "items": 1}),
        (profiles.flash_sale, {"buyers": 1, "items": 0}),
    ],
)
def test_what_cannot_be_played_is_refused(play: Any, options: dict[str, Any]):
    with pytest.raises(NotPossible):
        play(**options)


# --- Measuring --------------------------------------------------------------------------------------------------------
def test_latency_counts_from_when_an_order_was_due():
    late = Order(0, "normal", due=1.0, sent=3.0, answered=3.5, order_id=1, paid=4.0, ended=6.0, status="COMPLETED")
    found = latencies([late])
    assert (found["answered"]["p50"], found["paid"]["p50"], found["completed"]["p50"]) == (2.5, 3.0, 5.0)
    assert found["cancelled"] == {"count": 0}


def test_who_got_no_answer_counts_with_what_they_waited_and_who_was_refused_does_not_count():
    waited = Order(0, "normal", due=0.0, sent=0.0, answered=10.0, said="no answer in 10 s")
    refused = Order(1, "normal", due=0.0, sent=0.0, answered=0.001, said="429 C007")
    assert answer_times([waited, refused]) == [10.0]


def test_a_clock_that_goes_right_is_believed_and_one_that_does_not_is_corrected():
    right, ahead = Clock(), Clock()
    right.began = ahead.began = 1_000_000_000.0  # 2001-09-09 01:46:40
    for sent in (0.0, 1.0, 2.0):
        right.learn(f"2001-09-09T01:46:4{sent:.0f}.100000+00:00", sent, sent + 0.3)
        ahead.learn(f"2001-09-09T01:46:4{sent + 5:.0f}.100000+00:00", sent, sent + 0.3)
    assert right.ahead == 0.0
    assert 4.8 <= ahead.ahead <= 5.1
    assert right.since_began("2001-09-09T01:46:43.500000+00:00") == pytest.approx(3.5)


def test_what_is_in_flight():
    orders = [
        Order(0, "", due=0, sent=0.0, answered=1.0, order_id=1, ended=3.0),
        Order(1, "", due=0, sent=0.5, answered=4.0, order_id=2),
        Order(2, "", due=0, sent=0.5, answered=0.7),  # refused
    ]
    assert in_flight(orders, [0.6, 2.0, 5.0], "answered") == [(0.6, 3.0), (2.0, 1.0), (5.0, 0.0)]
    assert in_flight(orders, [0.6, 2.0, 5.0], "ended") == [(0.6, 2.0), (2.0, 2.0), (5.0, 1.0)]


@pytest.mark.parametrize(
    ("order", "now", "why_not"),
    [
        (Order(0, "", due=0, answered=0.1, order_id=1, paid=1.0), None, ""),
        (Order(0, "", due=0, answered=0.6, order_id=1, paid=1.0), None, "answered p95 above 0.5 s"),
        (Order(0, "", due=0, answered=0.1, order_id=1, paid=3.1), None, "paid p95 above 3 s"),
        (Order(0, "", due=0, answered=0.1, said="503"), None, "1 of 1 not accepted"),
        (Order(0, "", due=0, sent=0), 0.4, ""),
        (Order(0, "", due=0, sent=0), 0.6, "answered p95 above 0.5 s"),  # still waits
        (Order(0, "", due=0, answered=0.1, order_id=1, followed=True), 9, "paid p95 above 3 s"),  # likewise
        (Order(0, "", due=0, answered=0.1, order_id=1), 9, ""),  # nobody has looked whether it is paid
    ],
)
def test_when_a_step_is_not_held(order: Order, now: float | None, why_not: str):
    assert not_held([order], LIMITS, now) == why_not


# --- Requests ---------------------------------------------------------------------------------------------------------
async def serve(answers: list[bytes], connections: list[int]) -> asyncio.Server:
    """A server that says these, one per request, whatever it is asked; it counts requests by connection."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        place = len(connections) - 1
        try:
            while answers and await reader.readuntil(b"\r\n\r\n"):
                connections[place] += 1
                writer.write(answers.pop(0))
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass  # the client is through
        finally:
            writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0)


def ask(answers: list[bytes], times: int, **options: Any) -> tuple[list[Any], list[int]]:
    async def main() -> list[Any]:
        served = await serve(list(answers), connections)
        async with served:
            server = Server(f"http://127.0.0.1:{served.sockets[0].getsockname()[1]}/base/")
            found: list[Any] = []
            for _ in range(times):
                try:
                    answer = await server.ask("GET", "/x", **options)
                    found.append((answer.said, answer.body))
                except NoAnswer as error:
                    found.append(str(error))
            await server.close()
            return found

    connections: list[int] = []
    return asyncio.run(main()), connections


def test_a_connection_is_used_again():
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
    assert ask([plain] * 3, 3) == ([("200", {})] * 3, [3])


def test_chunks_are_put_together_and_a_closed_connection_is_not_used_again():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n"
    assert ask([chunked] * 2, 2) == ([("200", [])] * 2, [1, 1])


def test_problems_are_told_by_their_code_and_other_bodies_are_text():
    problem = b'HTTP/1.1 429 Slow down\r\nContent-Length: 15\r\n\r\n{"code":"C007"}'
    html = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\n<p>"
    found, _ = ask([problem, html], 2)
    assert found == [("429 C007", {"code": "C007"}), ("502", "<p>")]


def test_who_does_not_answer():
    nonsense = b"what?\r\n\r\n"
    told, connections = ask([nonsense, b""], 2)
    assert told == ["an answer that is not HTTP", "connection closed"]
    assert connections == [1, 1]


def test_who_answers_too_late():
    told, _ = ask([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n..."] * 2, 1, timeout=0.1)
    assert told == ["no answer in 0.1 s"]


# --- Against a shop ---------------------------------------------------------------------------------------------------
def test_what_a_load_finds(shop: FakeShop, load: Any):
    code, found = load("steady", "--rate=40", "--seconds=1")
    assert code == 0
    assert found["orders"] == 40
    assert found["answers"] == {"202": 40}
    assert found["endings"] == {"COMPLETED": 40}
    assert {mark: found["latency"][mark]["count"] for mark in found["latency"]} == {
        "answered": 40,
        "paid": 40,
        "completed": 40,
        "cancelled": 0,
    }
    assert findings(found) == {"every accepted order has ended": True, "audit": None}
    assert sorted(shop.off_sale) == sorted(shop.stock)


def test_orders_are_sent_when_they_are_due_though_nobody_answers(shop: FakeShop, load: Any):
    """A shop that stands still for a second is not asked less often, and all who come meanwhile wait."""
    resumed = threading.Event()
    first = 20 + 10  # after the warm-up

    def stand_still(number: int) -> None:
        if number == first:
            threading.Timer(1.0, resumed.set).start()
        if number >= first:
            resumed.wait()

    shop.before_answering = stand_still
    code, found = load("steady", "--rate=30", "--seconds=1")
    assert code == 0
    came = shop.sent[20:]
    assert came[-1] - came[0] < 1.5
    assert found["latency"]["answered"]["max"] >= 0.9
    assert found["latency"]["answered"]["p50"] >= 0.2  # those who came second, third, … waited, too


def test_a_shop_whose_clock_is_wrong(shop: FakeShop, load: Any):
    shop.clock_ahead = 100.0
    _, found = load("steady", "--rate=40", "--seconds=1")
    assert found["clockAhead"] == pytest.approx(100, abs=0.5)
    assert found["latency"]["paid"]["max"] < 5


def test_a_flash_sale_that_goes_well(load: Any):
    code, found = load("flash-sale", "--buyers=30", "--items=4")
    assert code == 0
    assert found["endings"] == {"CANCELLED I002": 26, "COMPLETED": 4}
    assert findings(found) == {
        "every accepted order has ended": True,
        "4 buyers got one": True,
        "26 buyers refused for insufficient stock": True,
        "the stock is 0": True,
        "no lock is left": None,
        "audit": None,
    }


def test_a_flash_sale_in_which_one_is_sold_twice(shop: FakeShop, load: Any):
    shop.oversells = True
    code, found = load("flash-sale", "--buyers=3", "--items=1")
    assert code == 1
    assert [what for what, good in findings(found).items() if good is False] == [
        "1 buyer got one",
        "2 buyers refused for insufficient stock",
        "the stock is 0",
    ]


def test_an_order_that_is_lost(shop: FakeShop, load: Any):
    def lose(number: int) -> None:
        if number == 25:
            del shop.orders[26]

    shop.before_answering = lose
    code, found = load("steady", "--rate=20", "--seconds=1")
    assert code == 1
    assert detail(found, "every accepted order has ended") == "1 are not in the list of orders"


def test_an_order_that_never_ends(shop: FakeShop, load: Any):
    shop.before_answering = lambda number: shop.orders[number + 1].update(status="PENDING") if number == 25 else None
    code, found = load("steady", "--rate=20", "--seconds=1", "--patience=0")
    assert code == 1
    assert detail(found, "every accepted order has ended") == "1 are still open, 26 for one"


def test_throttled(shop: FakeShop, load: Any):
    shop.refuses_with = lambda number: 429 if number >= 30 else 0
    code, found = load("steady", "--rate=20", "--seconds=1")
    assert code == 1
    assert found["answers"] == {"202": 10, "429 C007": 10}
    told = detail(found, "nobody was throttled")
    assert told.startswith("10 of 20 orders were.")
    assert "ORDERS_PER_MINUTE=0" in told


def test_internal_errors_are_told_and_other_outages_are_answers(shop: FakeShop, load: Any):
    shop.refuses_with = lambda number: {25: 500, 26: 503}.get(number, 0)
    code, found = load("steady", "--rate=20", "--seconds=1")
    assert code == 1
    assert found["answers"] == {"202": 18, "500 C001": 1, "503": 1}
    assert detail(found, "no answer is an internal error") == "1 were"


def test_a_ramp_ends_at_the_knee(shop: FakeShop, load: Any):
    """From the fortieth order on the shop refuses: in the second step."""
    shop.refuses_with = lambda number: 503 if number >= 20 + 40 else 0
    code, found = load("ramp", "--rate=30", "--seconds=1", "--paid-limit=30", "--answer-limit=9")
    assert code == 0
    assert [(one["rate"], one["whyNot"]) for one in found["steps"]] == [(30, ""), (42, "32 of 42 not accepted")]
    assert found["knee"] == 30


def test_ctrl_c_ends_a_load_and_shows_what_there_is(shop: FakeShop, tmp_path: Path):
    file = tmp_path / "results.json"
    process = subprocess.Popen(
        [*COMMAND, "steady", "--rate=20", "--seconds=600", f"--url={shop.url}", f"--json={file}"],
        env=os.environ | {"SEED_PASSWORD": PASSWORD},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    give_up_at = time.monotonic() + 60
    while len(shop.sent) < 30 and time.monotonic() < give_up_at:
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "(interrupted)" in told
    found = json.loads(file.read_text())
    assert found["interrupted"]
    assert 10 <= found["orders"] == sum(found["answers"].values()) < 2000
    assert found["endings"] == {"COMPLETED": found["orders"]}


# --- What cannot be loaded --------------------------------------------------------------------------------------------
def refusal(*arguments: str) -> str:
    with pytest.raises(CommandError) as refused:
        call_command("loadtest", "steady", "--rate=5", "--seconds=1", *arguments)
    assert refused.value.returncode == 2
    return str(refused.value)


def test_only_this_machine_is_put_under_load(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEED_PASSWORD", PASSWORD)
    assert "192.0.2.1 is not this machine" in refusal("--url=http://192.0.2.1")
    assert "--remote" in refusal("--url=http://[2001:db8::1]:8080")


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://localhost", "http://", "http://me:secret@localhost"])
def test_what_is_no_url(url: str):
    assert refusal(f"--url={url}") == f"{url} is not the URL of a shop, as http://127.0.0.1:8080 is one."


def test_a_shop_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEED_PASSWORD", PASSWORD)
    assert refusal("--url=http://127.0.0.1:1").startswith("http://127.0.0.1:1 does not answer (connection refused)")


def test_a_wrong_password(shop: FakeShop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEED_PASSWORD", "wrong")
    told = refusal(f"--url={shop.url}")
    assert "does not let admin@example.com in" in told
    assert "SEED_PASSWORD" in told


def test_no_password(shop: FakeShop, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path):
    monkeypatch.delenv("SEED_PASSWORD", raising=False)
    settings.VAR_DIR = tmp_path
    assert "SEED_PASSWORD, which is not set" in refusal(f"--url={shop.url}")


def test_what_is_no_shop(monkeypatch: pytest.MonkeyPatch, shop: FakeShop):
    monkeypatch.setenv("SEED_PASSWORD", PASSWORD)
    monkeypatch.setattr(shop, "answer", lambda *_: (200, "hello"))
    assert "is no shop" in refusal(f"--url={shop.url}")


def test_a_shop_that_refuses_every_order(shop: FakeShop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEED_PASSWORD", PASSWORD)
    shop.refuses_with = lambda number: 429
    told = refusal(f"--url={shop.url}")
    assert told.startswith("The shop refuses orders: 429 C007.")
    assert "ORDERS_PER_MINUTE" in told
    assert sorted(shop.off_sale) == sorted(shop.stock)


# --- Reports ----------------------------------------------------------------------------------------------------------
def test_the_page_needs_nothing_else_and_has_a_plot_for_everything(load: Any):
    _, found = load("ramp", "--rate=20", "--to=30", "--seconds=1", "--paid-limit=30", "--answer-limit=9")
    text = page(found)
    assert text.count("<svg") == 1 + 5  # by rate; over time, without the memory of processes that are not ours
    assert "not reached" in text
    assert "src=" not in text
    assert "href=" not in text
    assert "<script" not in text


def test_what_the_shop_says_is_no_html(load: Any):
    _, found = load("steady", "--rate=5", "--seconds=1")
    found["answers"] = {"<b>": 1}
    assert "<b>:" not in page(found).replace("<b>5", "")
    assert "&lt;b&gt;" in page(found)


def test_two_runs_beside_each_other(load: Any):
    _, before = load("steady", "--rate=20", "--seconds=1")
    after = json.loads(json.dumps(before))
    before["latency"]["answered"] = {"count": 20, "p50": 0.1, "p95": 0.2, "p99": 0.2, "max": 0.3}
    after["latency"]["answered"] = {"count": 20, "p50": 0.05, "p95": 0.21, "p99": 0.4, "max": 0.5}
    rows = {row.what: row for row in compare(before, after)}
    assert (rows["answered p50, ms"].change, rows["answered p50, ms"].better) == ("-50 %", True)
    assert (rows["answered p95, ms"].change, rows["answered p95, ms"].better) == ("+5 %", None)
    assert (rows["answered p99, ms"].change, rows["answered p99, ms"].better) == ("+100 %", False)
    assert "knee, orders per second" not in rows
    assert differences(before, after) == []
    after["options"]["rate"], after["interrupted"] = 30, True
    assert differences(before, after) == ["rate: 20.0, now 30", "the present one was interrupted"]
    assert "rate: 20.0, now 30" in page(after, list(rows.values()), differences(before, after))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 99, "profile": 1, "options": {}, "latency": 1, "rates": 1}']
)
def test_what_cannot_be_compared(tmp_path: Path, text: str):
    file = tmp_path / "earlier.json"
    with pytest.raises(NotComparable, match="cannot be read"):
        read(file)
    file.write_text(text)
    with pytest.raises(NotComparable, match=r"loadtest|version 99"):
        read(file)


# --- For real ---------------------------------------------------------------------------------------------------------
@pytest.mark.chaos
@pytest.mark.integration
def test_a_hundred_buyers_and_one_item(tmp_path: Path):
    file, report = tmp_path / "results.json", tmp_path / "report.html"
    done = subprocess.run(
        [*COMMAND, "flash-sale", "--buyers=100", "--items=1", f"--json={file}", f"--report={report}"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(file.read_text())
    assert found["answers"] == {"202": 100}
    assert found["endings"] == {"CANCELLED I002": 99, "COMPLETED": 1}
    assert set(findings(found).values()) == {True}
    assert {"the stock is 0", "no lock is left", "audit"} < findings(found).keys()
    assert found["audit"]["orders"] == 120  # with those of the warm-up
    assert report.read_text().count("<svg") == 1

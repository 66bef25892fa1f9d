"""What `manage.py loadtest` is made of: profiles, latencies, and its requests."""

import asyncio
import os
from datetime import timedelta
from math import inf
from typing import Any

import pytest
from django.conf import settings

from lab.loadtest import profiles
from lab.loadtest.http import NoAnswer, Server
from lab.loadtest.inside import audited, same_shop
from lab.loadtest.measure import Client, Clock, answer_times, in_flight, latencies
from lab.loadtest.measure import Order as Sent
from lab.loadtest.profiles import Limits, NotPossible
from lab.loadtest.run import not_held
from orders.models import Order

LIMITS = Limits(answered=0.5, paid=3.0)
RAMP = {"seed": 1, "answer_limit": 0.5, "paid_limit": 3.0}


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
    late = Sent(0, "normal", due=1.0, sent=3.0, answered=3.5, order_id=1, paid=4.0, ended=6.0, status="COMPLETED")
    found = latencies([late])
    assert (found["answered"]["p50"], found["paid"]["p50"], found["completed"]["p50"]) == (2.5, 3.0, 5.0)
    assert found["cancelled"] == {"count": 0}


def test_who_got_no_answer_counts_with_what_they_waited_and_who_was_refused_does_not_count():
    waited = Sent(0, "normal", due=0.0, sent=0.0, answered=10.0, said="no answer in 10 s")
    refused = Sent(1, "normal", due=0.0, sent=0.0, answered=0.001, said="429 C007")
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
        Sent(0, "", due=0, sent=0.0, answered=1.0, order_id=1, ended=3.0),
        Sent(1, "", due=0, sent=0.5, answered=4.0, order_id=2),
        Sent(2, "", due=0, sent=0.5, answered=0.7),  # refused
    ]
    assert in_flight(orders, [0.6, 2.0, 5.0], "answered") == [(0.6, 3.0), (2.0, 1.0), (5.0, 0.0)]
    assert in_flight(orders, [0.6, 2.0, 5.0], "ended") == [(0.6, 2.0), (2.0, 2.0), (5.0, 1.0)]


@pytest.mark.parametrize(
    ("order", "now", "why_not"),
    [
        (Sent(0, "", due=0, answered=0.1, order_id=1, paid=1.0), None, ""),
        (Sent(0, "", due=0, answered=0.6, order_id=1, paid=1.0), None, "answered p95 above 0.5 s"),
        (Sent(0, "", due=0, answered=0.1, order_id=1, paid=3.1), None, "paid p95 above 3 s"),
        (Sent(0, "", due=0, answered=0.1, said="503"), None, "1 of 1 not accepted"),
        (Sent(0, "", due=0, sent=0), 0.4, ""),
        (Sent(0, "", due=0, sent=0), 0.6, "answered p95 above 0.5 s"),  # still waits
        (Sent(0, "", due=0, answered=0.1, order_id=1, followed=True), 9, "paid p95 above 3 s"),  # likewise
        (Sent(0, "", due=0, answered=0.1, order_id=1), 9, ""),  # nobody has looked whether it is paid
    ],
)
def test_when_a_step_is_not_held(order: Sent, now: float | None, why_not: str):
    assert not_held([order], LIMITS, now) == why_not


def test_a_client_that_does_not_keep_up_says_so():
    client = Client()
    client.busiest = 0.99
    orders = [Sent(0, "", due=0.0, sent=0.3, answered=0.5, order_id=1)]
    cores = os.cpu_count() or 1
    assert client.figures(orders, load_before=cores + 1.5)["warnings"] == [
        "the client used 99 % of a core, and has only one",
        "the client sent orders 300 ms late at p99, which is part of the latencies",
        f"the machine had other things to do before it began: a load of {cores + 1.5:.1f} on {cores} cores",
    ]


def test_a_client_that_keeps_up_says_nothing():
    orders = [Sent(0, "", due=0.0, sent=0.004, answered=0.02, order_id=1)]
    assert Client().figures(orders, load_before=0.1)["warnings"] == []


# --- From inside ------------------------------------------------------------------------------------------------------
@pytest.mark.django_db(databases=list(settings.SERVICES))
def test_a_shop_is_known_by_an_order_that_it_has_taken(settings: Any):
    settings.EMBEDDED = False
    order = Order.objects.create(user_id=1, currency="KRW", total_price=1, payment_gateway="TOSS_PAYMENTS")
    order.refresh_from_db()
    then = order.created_at
    assert same_shop((order.pk, then.isoformat()))
    assert not same_shop((order.pk, (then + timedelta(microseconds=1)).isoformat()))
    assert not same_shop((order.pk + 1, then.isoformat()))
    assert not same_shop(None)


@pytest.mark.django_db(databases=list(settings.SERVICES))
def test_an_order_that_is_left_is_found_by_the_audit_of_a_shop_of_our_own():
    assert audited(own=True, at_rest=True)["detail"].startswith("clean: 0 orders, ")
    Order.objects.create(user_id=1, currency="KRW", total_price=1, payment_gateway="TOSS_PAYMENTS")
    found = audited(own=True, at_rest=True)
    assert not found["good"]
    assert found["orders"] == 1
    assert found["detail"].startswith(f"{found['violations']} violations; the first is ")


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

"""The benchmark over HTTP: its customers, what it reads from the databases, and what it says about its targets."""

import asyncio
import smtplib
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections

from benchmarks.endtoend.__main__ import guard
from benchmarks.endtoend.clients import Customers
from benchmarks.endtoend.doors import ShopDoor, http
from benchmarks.endtoend.mail import Sink
from benchmarks.endtoend.report import Closed, Outcome, Steady, closed_rows, keep, target_rows
from benchmarks.surroundings import QUEUES
from benchmarks.systems import Shop, ShopOfFour
from tests.support.processes import PATIENCE


@pytest.mark.django_db(databases=QUEUES)
@pytest.mark.parametrize("system", [Shop, ShopOfFour, ShopDoor])
def test_what_the_marks_ask_for_is_in_the_databases(system: type[Shop]):
    queries = [system.placed, *system.counts, *(query for queries in system.marks.values() for query in queries)]
    for database, sql in queries:
        with connections[database].cursor() as cursor:
            cursor.execute(sql, {"first": 1, "last": 2})


# --- Customers --------------------------------------------------------------------------------------------------------
def asked(line: str, answers: list[bytes]) -> tuple[Customers, list[bytes]]:
    """Customers that do what `line` says before a server that gives these answers, the last again and again; and what
    the server was asked."""
    heard: list[bytes] = []
    serving: list[Any] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with suppress(asyncio.IncompleteReadError):
            while True:
                heard.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(2))
                given = answers.pop(0) if len(answers) > 1 else answers[0]
                writer.write(given)
                if not given:
                    break
        writer.close()
        await writer.wait_closed()

    async def play() -> Customers:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        customers = Customers(server.sockets[0].getsockname()[1], [http("/orders", {}), http("/orders", {}, "token")])
        what, number, seconds = line.split()
        await getattr(customers, what)(int(number), float(seconds))
        await customers.close()
        await asyncio.gather(*serving)
        server.close()
        await server.wait_closed()
        return customers

    return asyncio.run(play()), heard


TAKEN = b'HTTP/1.1 201 Created\r\nContent-Length: 9\r\n\r\n{"id": 7}'
REFUSED = b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n"


def test_customers_at_a_rate_ask_when_it_is_time_one_request_after_the_other():
    customers, heard = asked("steady 100 0.1", [TAKEN])
    due = sorted(one.due for one in customers.answers)

    assert len(due) == 10
    assert [round(later - due[0], 6) for later in due] == [number / 100 for number in range(10)]
    assert {(one.status, one.order) for one in customers.answers} == {(201, 7)}
    assert Counter(b"Bearer token" in one for one in heard) == {True: 5, False: 5}


def test_a_refusal_and_a_lost_connection_are_answers_too_and_take_no_order():
    customers, _ = asked("steady 100 0.04", [TAKEN, REFUSED, b"", TAKEN])

    assert Counter((one.status, one.order) for one in customers.answers) == {(201, 7): 2, (503, 0): 1, (0, 0): 1}


def test_a_client_of_a_closed_loop_has_its_answer_before_it_asks_again():
    customers, heard = asked("closed 1 0.05", [TAKEN])
    answers = customers.answers

    assert len(answers) == len(heard) > 1
    assert all(one.answered <= later.due for one, later in pairwise(answers))


# --- Targets ----------------------------------------------------------------------------------------------------------
def outcome(
    name: str,
    *,
    paid: float,
    milliseconds: float,
    cpu: float,
    through: float = 0.0,
    refused: int = 0,
    kept_up: bool = True,
) -> Outcome:
    door: Any = SimpleNamespace(name=name, title=name)
    loop = Closed(paid, {"paid": paid, "through": through}, {"p50": 1, "p95": 1, "p99": 1}, Counter())
    refusing = Closed(paid, loop.marks, loop.post, Counter({"503": refused} if refused else {}))
    times = {what: [milliseconds] * 3 for what in ("answered", "paid", "through")}
    steady = Steady(10, times, Counter(), {"web": cpu, "load": 99}, kept_up)
    return Outcome(door, {32: [loop], 256: [refusing]}, {10: [steady]})


def test_the_mail_server_takes_one_e_mail_after_the_other():
    def send(port: int) -> list[Any]:
        with smtplib.SMTP("127.0.0.1", port, timeout=PATIENCE) as client:
            return [client.sendmail("shop@example.com", ["hana@example.com"], text) for text in ("", "\n.\nQUIT\n")]

    async def play() -> list[Any]:
        async with await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0) as server:
            return await asyncio.to_thread(send, server.sockets[0].getsockname()[1])

    assert asyncio.run(play()) == [{}, {}]  # by recipient, what was refused


def test_the_guard_compares_with_plain_celery():
    shop, plain = (
        outcome("shop", paid=90, milliseconds=9, cpu=9),
        outcome("celery-threads", paid=30, milliseconds=9, cpu=9),
    )

    assert guard([shop, plain], 3.0)
    assert not guard([shop, plain], 3.1)


def test_targets_say_what_was_measured_and_whether_it_is_enough():
    floor = outcome("floor", paid=500, through=450, milliseconds=5, cpu=1)
    shop = outcome("shop", paid=300, through=180, milliseconds=20, cpu=3, refused=2)
    prefork = outcome("celery-prefork", paid=30, milliseconds=30, cpu=4)
    threads = outcome("celery-threads", paid=25, through=20, milliseconds=18, cpu=2)

    assert target_rows([floor, shop, prefork, threads])[1:] == [
        ("paid/s at 32 clients: 10 × plain Celery", "10.0 ×", "reached"),
        ("paid/s at 32 clients: 0.5 of the floor", "0.60", "reached"),
        ("through/s at 32 clients: 10 × plain Celery", "9.0 ×", "not reached"),
        ("through/s at 32 clients: 0.5 of the floor", "0.40", "not reached"),
        ("10/s: paid no later than plain Celery, p50", "20 ms, 18 ms", "not reached"),
        ("10/s: paid no later than plain Celery, p99", "20 ms, 18 ms", "not reached"),
        ("10/s: no more processor time", "3.0 ms, 2.0 ms", "not reached"),
        ("256 clients: nobody is refused", "2 refused", "not reached"),
    ]
    assert target_rows([floor, shop]) == []


def test_a_rate_beyond_plain_celerys_knee_is_no_target():
    floor = outcome("floor", paid=500, through=450, milliseconds=5, cpu=1)
    shop = outcome("shop", paid=300, through=180, milliseconds=20, cpu=3)
    slow = outcome("celery-prefork", paid=30, milliseconds=1, cpu=1, kept_up=False)

    assert slow.beyond_knee(50)
    assert not shop.beyond_knee(50)
    assert [target for target, *_ in target_rows([floor, shop, slow]) if "10/s" in target] == []


def test_the_table_names_refusals_by_status():
    shop = outcome("shop", paid=300, milliseconds=20, cpu=3, refused=2)
    assert [row[1:2] + row[6:] for row in closed_rows([shop])[1:]] == [("32", "–"), ("256", "2 × 503")]


def test_where_the_time_goes_is_drawn_at_the_highest_rate_that_all_keep_up_with(tmp_path: Path):
    shop, plain = (outcome(name, paid=9, milliseconds=9, cpu=3) for name in ("shop", "celery-threads"))
    for one in (shop, plain):
        one.door.durability = ""
        (at_ten,) = one.steady[10]
        one.steady[50] = [replace(at_ten, rate=50, kept_up=one is shop)]
    machine = {"date": "2026", "cores": 2, "processor": "?"}
    keep([shop, plain], {"machine": machine, "options": {"rounds": 1}}, tmp_path)
    drawn = (tmp_path / "endtoend-cpu.svg").read_text()
    assert "Processor time per order at 10 orders a second" in drawn
    assert "load" not in drawn

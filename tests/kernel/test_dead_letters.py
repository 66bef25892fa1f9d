"""Dead letters: `manage.py deadletters`, and their end."""

import json
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.utils import timezone

from commands.management.commands import deadletters
from inventory import reservations, services
from inventory.models import DeadLetter, StockItem
from orders.models import DeadLetter as OrdersDeadLetter
from sagas import dead_letters
from sagas.conf import hook
from sagas.events import encode, uuid7
from sagas.execution import execute
from sagas.registry import STEPS, local_services
from sagas.testing import Bus
from shop.contracts.events import Checkout, Line, OrderCreated

pytestmark = pytest.mark.django_db(databases=local_services())

RESERVE = "inventory.reserve_stock"
BROKEN = "ZeroDivisionError: division by zero"


@pytest.fixture(autouse=True)
def stock() -> None:
    services.seed_stock({1: 100})


def created(order_id: int) -> OrderCreated:
    checkout = Checkout(
        user_id=7,
        amount=1000,
        currency="KRW",
        payment_gateway="TOSS_PAYMENTS",
        payment_token="tok_ok",
        lines=(Line(1, 1),),
    )
    return OrderCreated(order_id=order_id, checkout=checkout)


@pytest.fixture
def repaired(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reserving is broken until this is called."""
    monkeypatch.setattr(reservations, "reserve", lambda orders: 1 / 0)
    return monkeypatch.undo


def fail(*order_ids: int) -> list[DeadLetter]:
    """Have the broken step fail for these orders."""
    execute(STEPS[RESERVE], [encode(created(order_id)) for order_id in order_ids])
    return list(DeadLetter.objects.order_by("pk"))


def run(*arguments: Any) -> str:
    output = StringIO()
    call_command("deadletters", *map(str, arguments), stdout=output)
    return output.getvalue()


def listed(*arguments: str) -> list[tuple[str, int | None, str]]:
    return [
        (row["service"], row["orderId"], row["resolution"]) for row in json.loads(run("list", "--json", *arguments))
    ]


# —— list, show ———————————————————————————————————————————————————————————————————————————————————————————————————————
def test_a_list_of_the_open_ones_of_every_service(bus: Bus, repaired: Any):
    assert run("list") == "No open dead letters.\n"
    first, second = fail(1, 2)
    letter = OrdersDeadLetter.objects.create(
        step="orders.mark_paid", correlation_id=3, payload="7", error="ValueError: [bold]odd[/]"
    )
    dead_letters.discard(second)

    text = run("list")

    assert [line.split()[1:3] for line in text.splitlines() if line.startswith("│")] == [
        ["inventory", str(first.pk)],
        ["orders", str(letter.pk)],
    ]
    assert RESERVE in text
    assert BROKEN in text
    assert "ValueError: [bold]odd[/]" in text
    assert listed() == [("inventory", 1, "open"), ("orders", 3, "open")]
    assert listed("--service", "inventory") == [("inventory", 1, "open")]
    assert listed("--all") == [("inventory", 1, "open"), ("inventory", 2, "DISCARDED"), ("orders", 3, "open")]


def test_one_with_its_event(bus: Bus, repaired: Any):
    (letter,) = fail(1)

    shown = json.loads(run("show", "inventory", letter.pk, "--json"))

    assert (shown["id"], shown["step"], shown["eventType"], shown["attempts"], shown["error"]) == (
        letter.pk,
        RESERVE,
        "OrderCreated",
        1,
        BROKEN,
    )
    assert shown["event"] == json.loads(letter.payload)
    text = run("show", "inventory", letter.pk)
    assert '"payment_token": "tok_ok"' in text
    assert BROKEN in text


# —— replay, discard ——————————————————————————————————————————————————————————————————————————————————————————————————
def test_replaying_one_resolves_it_and_replaying_it_again_changes_nothing(bus: Bus, repaired: Any):
    first, _ = fail(1, 2)
    repaired()

    assert run("replay", "inventory", first.pk) == "1 sent to their steps again; what succeeds is resolved.\n"
    bus.deliver()

    assert listed("--all") == [("inventory", 1, "HANDLED"), ("inventory", 2, "open")]
    assert StockItem.objects.get(product_id=1).reserved == 1
    bus.messages.clear()
    run("replay", "inventory", first.pk)
    bus.deliver()
    assert StockItem.objects.get(product_id=1).reserved == 1
    assert listed() == [("inventory", 2, "open")]


@pytest.mark.parametrize("of", [("--all",), ("inventory", "--all")])
def test_replaying_all_that_are_open(bus: Bus, repaired: Any, of: tuple[str, ...]):
    fail(1, 2, 3)
    repaired()
    dead_letters.discard(DeadLetter.objects.get(correlation_id=3))

    run("replay", *of)
    for _ in range(2):
        bus.deliver()

    assert listed("--all") == [("inventory", 1, "HANDLED"), ("inventory", 2, "HANDLED"), ("inventory", 3, "DISCARDED")]


def test_what_fails_again_stays_with_one_more_attempt(bus: Bus, repaired: Any):
    (letter,) = fail(1)

    run("replay", "inventory", letter.pk)
    bus.deliver()

    letter.refresh_from_db()
    assert (letter.attempts, letter.resolved_at) == (2, None)


def test_giving_one_up_keeps_the_reason(bus: Bus, repaired: Any):
    (letter,) = fail(1)

    assert run("discard", "inventory", letter.pk, "--reason", "order 1 was a test") == "1 discarded.\n"
    assert run("discard", "inventory", letter.pk, "--reason", "x") == "0 discarded. 1 had been resolved before.\n"

    letter.refresh_from_db()
    assert (letter.resolution, letter.error) == ("DISCARDED", f"{BROKEN}\nDiscarded: order 1 was a test")
    assert listed() == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "--service", "catalog"), "There are: accounts, delivery, inventory, notifications, orders, payments"),
        (("show", "inventory", "99"), "inventory has no dead letter 99"),
        (("replay", "inventory", "98", "99"), "inventory has no dead letter 98, 99"),
        (("replay",), "Say which"),
        (("replay", "inventory"), "Say which"),
        (("replay", "inventory", "1", "--all"), "Say which"),
        (("discard", "inventory", "1"), "--reason"),
        ((), "required: list|show|replay|discard"),
    ],
)
def test_what_makes_no_sense_is_explained(bus: Bus, arguments: tuple[str, ...], message: str):
    with pytest.raises(CommandError, match=message.replace("|", r"\|")):
        run(*arguments)


def test_what_has_no_step_cannot_be_replayed_and_stops_nobody(bus: Bus, repaired: Any):
    dead_letters.record("inventory", "inventory.burn_stock", {"type": "?"}, "unknown")
    fail(1)

    with pytest.raises(CommandError, match="1 cannot be replayed"):
        run("replay", "--all")

    assert [step for step, _ in bus.messages] == [RESERVE]


def test_what_cannot_be_read_cannot_be_replayed_and_stops_nobody(bus: Bus, repaired: Any):
    dead_letters.record("inventory", dead_letters.RELAY, {"type": "OfTheNextRelease"}, "unknown")
    fail(1)

    with pytest.raises(CommandError, match="1 cannot be replayed"):
        run("replay", "--all")

    assert [step for step, _ in bus.messages] == [RESERVE]


def test_a_forged_event_is_replayed_only_by_who_says_so(bus: Bus, monkeypatch: pytest.MonkeyPatch):
    """It goes out in the name of whoever replays it, whom every step trusts."""
    with monkeypatch.context() as patch:
        patch.setattr(type(hook()), "may_emit", lambda *_: False)
        (letter,) = fail(1)
    assert letter.error == "Impostor: OrderCreated from nobody"

    for which in (["--all"], ["inventory", "--all"], ["inventory", letter.pk]):
        with pytest.raises(CommandError, match="1 cannot be replayed"):
            run("replay", *which)
    with pytest.raises(CommandError, match="--trust-sender goes with the IDs"):
        run("replay", "--all", "--trust-sender")
    assert bus.messages == []

    run("replay", "inventory", letter.pk, "--trust-sender")
    bus.deliver()

    assert listed("--all") == [("inventory", 1, "HANDLED")]


def test_a_broker_that_is_away_is_an_error(bus: Bus, repaired: Any, monkeypatch: pytest.MonkeyPatch):
    fail(1)

    def refuse(*_: Any) -> None:
        raise ConnectionRefusedError("nobody there")

    monkeypatch.setattr(bus, "send", refuse)

    with pytest.raises(CommandError, match="The broker is away after 0 of 1: nobody there"):
        run("replay", "--all")


def test_the_broker_in_memory_is_another_process_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(deadletters, "is_lost_on_exit", lambda: True)
    letter = DeadLetter.objects.create(step=RESERVE, payload="7", error="?")

    with pytest.raises(CommandError, match="The broker in memory lives in the process of `make up`"):
        run("replay", "inventory", letter.pk)


def test_a_letter_whose_event_had_been_handled_is_resolved_by_its_coming_again(bus: Bus):
    event = encode(created(1))
    execute(STEPS[RESERVE], [event])
    dead_letters.record("inventory", RESERVE, event, "set aside by mistake")

    execute(STEPS[RESERVE], [event])

    assert listed("--all") == [("inventory", 1, "HANDLED")]
    assert StockItem.objects.get(product_id=1).reserved == 1


# —— Their end ————————————————————————————————————————————————————————————————————————————————————————————————————————
def test_old_ones_are_purged_when_they_are_resolved():
    then = timezone.now() - settings.SAGAS.retention * 1.1
    for event_id, resolved_at in ((uuid7(), then), (uuid7(), timezone.now()), (None, None)):
        DeadLetter.objects.create(
            step=RESERVE, event_id=event_id, payload="{}", error="?", resolved_at=resolved_at, created_at=then
        )

    from sagas import purge_messages

    assert purge_messages("inventory") == 1
    assert DeadLetter.objects.filter(resolved_at=then).count() == 0
    assert DeadLetter.objects.count() == 2

"""`manage.py check` compares shop/saga.py with the steps: each way they can differ is an error."""

from collections.abc import Callable
from typing import Any

import pytest

from sagas import checks
from sagas.steps import STEPS, SWEEPS
from shop import saga
from shop.contracts.events import OrderCompleted, OrderCreated, PaymentFailed


def found() -> list[str]:
    return [message.id for message in checks.check_saga()]


def test_the_saga_is_as_the_steps_say():
    assert checks.check_saga() == []


def without(*keys: Any) -> Callable[[dict], dict]:
    return lambda table: {key: value for key, value in table.items() if key not in keys}


def plus(**entries: Any) -> Callable[[dict], dict]:
    return lambda table: {**table, **entries}


def hearing(event: type, *steps: str) -> Callable[[dict], dict]:
    return lambda table: {**table, event: steps}


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("SAGA", without(OrderCompleted), {"saga.E001", "saga.E003"}),  # nobody hears it
        ("SAGA", hearing(OrderCompleted), {"saga.E001", "saga.E003"}),
        ("SAGA", hearing(OrderCompleted, "notifications.notify", "orders.frame_it"), {"saga.E002", "saga.E005"}),
        ("SAGA", hearing(PaymentFailed, "inventory.release_stock", "orders.cancel_order"), {"saga.E003"}),
        ("UNDONE_BY", without("inventory.reserve_stock"), {"saga.E005"}),  # an effect without its undo
        ("UNDONE_BY", plus(**{"inventory.count_stock": "inventory.release_stock"}), {"saga.E006"}),
        ("TIMERS", without("orders.look_after"), {"saga.E007"}),
        ("TIMERS", plus(**{"orders.water_plants": 60.0}), {"saga.E008"}),
    ],
)
def test_a_difference_is_an_error(name: str, change: Any, expected: set[str], monkeypatch: pytest.MonkeyPatch):
    changed = change(dict(getattr(saga, name)))
    monkeypatch.setattr(checks, name, changed)

    assert expected <= set(found())


@pytest.mark.parametrize(
    ("patient", "expected"),
    [
        ("payments.charge_payment", "saga.E010"),
        ("delivery.start_delivery", "saga.E010"),  # by itself; with those who hear what follows, it may
        ("orders.frame_it", "saga.E006"),
    ],
)
def test_nobody_who_cannot_wait_is_behind_somebody_who_can(
    patient: str, expected: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(checks, "PATIENT", (patient,))

    assert found() == [expected]


def test_a_step_in_no_row_is_an_error(monkeypatch: pytest.MonkeyPatch):
    stray = STEPS["orders.mark_paid"]
    monkeypatch.setitem(STEPS, "orders.mark_twice", stray)

    assert found() == ["saga.E004"]


def test_every_timer_is_a_sweep_and_every_step_has_a_queue():
    from sagas.topology import BEAT_SCHEDULE, QUEUES

    assert set(BEAT_SCHEDULE) == set(saga.TIMERS) == set(SWEEPS)
    assert {queue.name for queue in QUEUES} >= {saga.service_of(step) for step in STEPS}
    assert all(entry["options"]["queue"] == saga.service_of(task) for task, entry in BEAT_SCHEDULE.items())
    assert saga.steps_hearing(OrderCreated)[0] == "inventory.reserve_stock"

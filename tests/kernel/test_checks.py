"""`manage.py check` compares a saga with the steps: each way they can differ is an error."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from celery import current_app

from sagas import Saga, effect, record
from sagas.checks import check_sagas
from sagas.conf import choreography
from sagas.registry import STEPS, TIMERS
from sagas.saga import service_of
from sagas.topology import beat_schedule, destination, queues
from shop.contracts.events import OrderCompleted, OrderCreated, PaymentFailed
from shop.saga import ORDER, SAGAS

OTHERS = [saga for saga in SAGAS if saga is not ORDER]
Change = Callable[[dict[Any, Any]], dict[Any, Any]]


def found() -> list[str | None]:
    return [message.id for message in check_sagas()]


def use(settings: Any, *sagas: Saga) -> None:
    settings.SAGAS = replace(settings.SAGAS, sagas=sagas)


def test_the_saga_is_as_the_steps_say():
    assert check_sagas() == []


def without(*keys: Any) -> Change:
    return lambda table: {key: value for key, value in table.items() if key not in keys}


def plus(**entries: Any) -> Change:
    return lambda table: {**table, **entries}


def hearing(event: type, *steps: str) -> Change:
    return lambda table: {**table, event: steps}


@pytest.mark.parametrize(
    ("table", "change", "expected"),
    [
        ("heard_by", without(OrderCompleted), {"saga.E001", "saga.E003"}),  # nobody hears it
        ("heard_by", hearing(OrderCompleted), {"saga.E001", "saga.E003"}),
        ("heard_by", hearing(OrderCompleted, "notifications.notify", "orders.frame_it"), {"saga.E003", "saga.E005"}),
        ("heard_by", hearing(PaymentFailed, "inventory.release_stock", "orders.cancel_order"), {"saga.E003"}),
        ("steps", without("inventory.reserve_stock"), {"saga.E005"}),  # an effect without its undo
        ("steps", plus(**{"inventory.release_stock": record()}), {"saga.E005"}),
        ("steps", plus(**{"inventory.reserve_stock": record()}), set()),  # its undo is another effect's, too
        ("steps", plus(**{"delivery.start_delivery": record()}), {"saga.E005"}),  # then nothing is undone by its undo
        ("steps", plus(**{"inventory.count_stock": effect(undone_by="inventory.release_stock")}), {"saga.E006"}),
        ("timers", without("orders.look_after"), {"saga.E007"}),
        ("timers", plus(**{"orders.water_plants": 60.0}), {"saga.E007"}),
    ],
)
def test_a_difference_is_an_error(table: str, change: Change, expected: set[str], settings: Any):
    use(settings, replace(ORDER, **{table: change(dict(getattr(ORDER, table)))}), *OTHERS)

    assert set(found()) >= expected
    assert bool(found()) == bool(expected)


@pytest.mark.parametrize("step", ["payments.charge_payment", "delivery.start_delivery"])
def test_no_prompt_step_hears_what_follows_from_a_deferrable_one(step: str, settings: Any):
    roles = {name: role._replace(deferrable=name == step) for name, role in ORDER.steps.items()}
    use(settings, replace(ORDER, steps=roles), *OTHERS)

    assert found() == ["saga.E010"]


def test_a_step_in_no_row_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(STEPS, "orders.mark_twice", STEPS["orders.mark_paid"])

    assert found() == ["saga.E003"]


def test_an_event_without_the_sagas_key_is_an_error(settings: Any):
    use(settings, replace(ORDER, key="trip_id"), *OTHERS)

    assert set(found()) == {"saga.E011"}


def test_an_event_belongs_to_one_saga(settings: Any):
    use(settings, ORDER, *OTHERS, replace(ORDER, name="another"))

    assert "saga.E012" in found()


def test_every_timer_is_scheduled_and_every_step_has_a_queue():
    assert set(beat_schedule()) == {timer for saga in SAGAS for timer in saga.timers} == set(TIMERS)
    assert {queue.name for queue in queues()} >= {service_of(step) for step in STEPS}
    assert all(entry["options"]["queue"] == service_of(task) for task, entry in beat_schedule().items())
    assert choreography().heard_by[OrderCreated][0] == "inventory.reserve_stock"


def test_ticks_are_confirmed_and_dropped_by_the_brokers_clock():
    """`expires` would be judged by each worker's clock: one that is ahead would drop every tick without a word."""
    for task, entry in beat_schedule().items():
        assert entry["options"].keys() == {*destination(task), "expiration", "confirm_timeout"}
        assert entry["options"]["expiration"] == max(30, 10 * choreography().timers[task])
    assert current_app.conf.broker_transport_options["confirm_publish"] is True

"""Any schedule of duplicates, reorderings, delays, losses, crashes and cancellations ends well.

hypothesis makes the decisions, so a schedule that fails is shrunk and printed as a dialogue. `make test` plays the
same 500 schedules each time; SCHEDULES=100000 plays so many others (`make simulate`).
"""

import os
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from inventory.services import seed_stock
from orders.models import FINAL, Order
from orders.services import place_order
from shop.contracts.events import Line
from tests.bus import Bus
from tests.conftest import SERVICES, rolled_back
from tests.simulation import Schedule

pytestmark = [pytest.mark.django_db(databases=SERVICES), pytest.mark.usefixtures("no_waiting")]

MORE = os.environ.get("SCHEDULES")

wishes = st.fixed_dictionaries(
    {
        "quantity": st.integers(1, 4),  # of 6 in stock: some orders must be refused
        "payment_token": st.sampled_from(["tok_ok", "tok_declined", "tok_timeout_charged", "tok_flaky_3"]),
        "address": st.sampled_from(["", "addr_refused_by_carrier", "addr_refused_by_recipient"]),
        "cancelled": st.booleans(),
    }
)


@settings(
    max_examples=int(MORE or 500),
    derandomize=not MORE,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(wanted=st.lists(wishes, min_size=1, max_size=2), random=st.randoms(use_true_random=False))
def test_any_schedule_ends_well(bus: Bus, gateways_answer_soon: None, wanted: list[dict[str, Any]], random: Random):
    with rolled_back():
        bus.messages.clear()
        seed_stock({1: 6})
        cancelled = []
        for wish in wanted:
            wish = dict(wish)
            cancel, line = wish.pop("cancelled"), Line(1, wish.pop("quantity"))
            order_id = place_order(user_id=1, lines=[line], **wish).pk
            cancelled += [order_id] if cancel else []
        schedule = Schedule(random, bus, cancels=cancelled)
        try:
            schedule.play()
            assert schedule.verdict() == []
            assert not Order.objects.exclude(status__in=FINAL).exists()
        finally:
            note("\n".join(schedule.dialogue))

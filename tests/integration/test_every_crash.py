"""A process that ends at each boundary there is. Started again, it leaves every order at its end and nothing amiss.

The boundaries are read from the code: each `crash_point("…")`. What makes a process pass one is a scene of `scenes.py`.
"relay.marked:2" is its second pass.
"""

import ast
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.test import override_settings

from accounts.models import User
from accounts.services import sign_in
from sagas.testing.boundaries import points_in
from sagas.testing.crashes import EXIT_CODE
from tests.integration.conftest import CARRIERS_SECRETS, LOGS
from tests.support.boundaries import all_points, sources
from tests.support.forks import relay, web, worker
from tests.support.running_shop import Queues, Shop
from tests.support.scenes import (
    Scene,
    Stage,
    booking_due,
    carrier_tells,
    customer_cancels,
    customer_changes,
    customer_comes_back,
    customer_leaves,
    customer_orders,
    customer_returns,
    customer_withdraws,
    deadline_past,
    event_unreadable,
    held_and_handed_over,
    message_lost,
    message_set_aside,
    message_unreadable,
    notification_due,
    order_undone,
    ordered,
    parcel_due,
    payment_unknown,
    payment_unknown_and_undone,
    provider_notifies,
    retention_past,
    return_lost,
    sent,
    staff_approves,
    staff_books_stock,
    staff_refund,
    webhook_due,
)

PASSWORD = "a password for tests 17"

# Who passes what, when.
PASSES: dict[tuple[Callable[[], None], Scene], tuple[str, ...]] = {
    (worker, sent): (
        "step.received",
        "step.looked_up",
        "charge.intended",
        "gateway.asking",
        "gateway.answered",
        "step.answered",
        "step.written",
        "step.committed",
        "publisher.before_send",
        "publisher.confirmed",
        "step.published",
        "step.finished",
        "worker.done",
        "worker.acknowledged",
    ),
    (worker, message_unreadable): ("worker.refused", "worker.rejected"),
    (worker, event_unreadable): ("deadletter.written", "deadletter.committed"),
    (worker, payment_unknown): (
        "settle.claim_written",
        "settle.claim_committed",
        "settle.answered",
        "settle.written",
        "settle.committed",
    ),
    (worker, held_and_handed_over): ("capture.written", "capture.committed"),
    (worker, order_undone): ("refund.written", "refund.committed"),
    (worker, payment_unknown_and_undone): ("settle.operation_written", "settle.operation_committed"),
    (worker, parcel_due): (
        "advance.written",
        "advance.committed",
        "return_parcels.written",
        "return_parcels.committed",
    ),
    (worker, return_lost): ("return_look.written", "return_look.committed", "return_look.rearmed"),
    (web, customer_returns): ("return_request.written", "return_request.committed"),
    (web, customer_withdraws): ("return_withdrawal.written", "return_withdrawal.committed"),
    (web, staff_approves): ("return_decision.written", "return_decision.committed"),
    (worker, booking_due): (
        "asking.claim_written",
        "asking.claim_committed",
        "asking.answered",
        "asking.written",
        "asking.committed",
    ),
    (worker, notification_due): (
        "sending.claim_written",
        "sending.claim_committed",
        "sending.sent",
        "sending.written",
        "sending.committed",
    ),
    (worker, webhook_due): ("webhooks.claimed", "webhooks.sent", "webhooks.written", "webhooks.committed"),
    (worker, message_lost): (
        "look_after.claim_written",
        "look_after.claim_committed",
        "look_after.closed",
        "look_after.rearmed",
    ),
    (worker, deadline_past): ("overdue.written", "overdue.committed"),
    (worker, retention_past): ("purge.deleted",),
    (worker, customer_leaves): ("erasure.written", "erasure.committed"),
    (relay, ordered): (
        "relay.claimed",
        "publisher.before_send",
        "publisher.confirmed",
        "relay.published",
        "relay.marked",
        "relay.claimed:2",  # the same event again, for those who hear it a moment later
        "relay.published:2",
        "relay.marked:2",
    ),
    (relay, message_set_aside): (
        "deadqueue.taken",
        "deadletter.written",
        "deadletter.committed",
        "deadqueue.kept",
        "deadqueue.acknowledged",
    ),
    (web, staff_refund): ("refund_request.written", "refund_request.committed"),
    (web, customer_changes): ("change.written", "change.committed"),
    (web, customer_comes_back): ("return.note_written", "return.note_committed", "return.written", "return.committed"),
    (web, provider_notifies): ("notification.written", "notification.committed"),
    (web, customer_orders): ("order.written", "order.committed"),
    (web, customer_cancels): ("cancellation.written", "cancellation.committed"),
    (web, carrier_tells): ("carrier_event.written", "carrier_event.committed"),
    (web, staff_books_stock): ("adjustment.written", "adjustment.committed"),
}

# Transactions that no order depends on: who is cut off there asks again.
UNWATCHED = {
    "notifications/webhooks/subscriptions.py",
    "accounts/services.py", "accounts/letters.py", "accounts/clients.py", "catalog/services.py", "close", "seed_stock",
    "capture_again", "write_off",
}  # fmt: skip


def name_of(point: str) -> str:
    """The boundary, whichever pass of it is meant."""
    return point.partition(":")[0]


POINTS = all_points()
CASES = [(point, role, scene) for (role, scene), points in PASSES.items() for point in points]
STRANGERS = [(point, None, None) for point in sorted(POINTS - {name_of(point) for point, *_ in CASES})]


@pytest.fixture(scope="module")
def theatre(_shop: Shop, forking: None, queues: Queues, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    _shop.close()
    stage = Stage(_shop, queues, tmp_path_factory.mktemp("forks"))
    password = make_password(PASSWORD)
    User.objects.filter(pk=_shop.customer).update(password=password)
    staff = User.objects.create(
        email="staff@example.com", name="Staff", password=password, is_staff=True, is_superuser=True
    )
    with override_settings(STAFF_TOKEN_LIFETIME=timedelta(hours=1)):
        stage.customer, stage.staff = (
            f"Bearer {sign_in(email=user.email, password=PASSWORD).access}"
            for user in (User.objects.get(pk=_shop.customer), staff)
        )
    yield stage
    stage.end()
    staff.delete()


@pytest.fixture
def stage(theatre: Stage, request: pytest.FixtureRequest, settings: Any) -> Stage:
    settings.STALLED_AFTER = 3600
    settings.WEBHOOK_ALLOWED_NETWORKS = ["127.0.0.0/8"]
    settings.CARRIER_SECRETS = {code: [secret] for code, secret in CARRIERS_SECRETS.items()}
    theatre.begin()
    request.node.stash[LOGS] = theatre
    return theatre


@pytest.mark.parametrize(("point", "role", "scene"), CASES + STRANGERS)
def test_nothing_is_amiss_after_a_crash_at(point: str, role: Callable[[], None], scene: Scene, stage: Stage):
    assert name_of(point) in POINTS, f"There is no crash_point({point!r}) any more: take it out of PASSES."
    assert scene, f"crash_point({point}) is new, or no literal: say in PASSES who passes it in which scene."
    stage.has(point, role)
    played = scene(stage)
    next(played)

    stage.start()
    next(played, None)
    assert stage.hero.ends() == EXIT_CODE
    assert f"CRASH_AT {name_of(point)}: " in stage.hero.log
    stage.start_again()
    next(played, None)

    stage.comes_to_rest()
    stage.clean = True


def test_every_transaction_is_between_two_crash_points():
    points = {name: {point for point, _ in points_in(tree)} for name, tree in sources()}
    bare = []
    for name, tree in sources():
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and not UNWATCHED & {name, function.name}:
                for block in ast.walk(function):
                    if isinstance(block, ast.With) and "durable=True" in ast.unparse(block.items[0]):
                        before = [point for point, _ in points_in(block) if point.endswith("written")]
                        if not before or before[0].replace("written", "committed") not in points[name]:
                            bare.append(f"{name}:{block.lineno} {function.name}")
    assert bare == []

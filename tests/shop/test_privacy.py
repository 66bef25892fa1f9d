"""A customer leaves: they get all that is kept of them, and afterwards nothing anywhere names them.

The search knows nothing of tables: it reads every column of every table of all databases, what is in the queues, what
was logged and every e-mail that is a file.
"""

import json
import logging
import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib import import_module
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.core.mail import send_mail
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_otp.plugins.otp_totp.models import TOTPDevice
from django_redis import get_redis_connection
from rest_framework.test import APIClient

from accounts import erasure, services
from accounts.models import StaffAction, User
from audit import Violation, audit
from delivery.models import Delivery
from delivery.reports import take_carrier_event
from inventory.services import seed_stock
from notifications.models import Notification
from orders import addresses
from orders.models import Order, OrderChange
from sagas import dead_letters
from sagas.registry import TIMERS
from sagas.testing import Bus, publishing_to
from shop import mailfiles
from shop.calls import personal, substituting
from shop.contracts.catalog import CatalogService
from shop.contracts.events import CustomerErased
from shop.contracts.orders import OrdersOf, OrdersService
from shop.observability import logs
from tests.conftest import SERVICES
from tests.support.fakes import FakeCatalog
from tests.support.sagas import SAGA_TIMERS

pytestmark = [pytest.mark.django_db(databases=SERVICES), pytest.mark.usefixtures("no_waiting", "mail")]

NAME, EMAIL, PHONE = "Zyxwen 홍길동", "zyxwen@planted.example", "010-9753-8642"
STREET, PASSWORD = "8642 Planted Street, 심어진동", "correct horse 7"
NEEDLES = ("Zyxwen", "홍길동", "planted.example", "97538642", "9753-8642", "Planted Street", "심어진동")
DEAD = {"notifications": "notifications_notification", "delivery": "delivery_delivery"}


# —— The world ————————————————————————————————————————————————————————————————————————————————————————————————————————
@pytest.fixture
def bus() -> Iterator[Bus]:
    """The catalogue answers from memory; accounts is there, for it is what this is about."""
    cache.clear()  # of the sign-ins and exports that other tests have counted
    bus = Bus(SAGA_TIMERS)
    with publishing_to(bus), substituting(CatalogService, FakeCatalog()):
        seed_stock({1: 1000})
        yield bus


@pytest.fixture
def mail(settings: Any, tmp_path: Path) -> Path:
    settings.EMAIL_BACKEND, settings.EMAIL_FILE_PATH = mailfiles.BACKEND, tmp_path
    return tmp_path


@pytest.fixture
def logged() -> Iterator[StringIO]:
    """What the processes would log, as they would."""
    output = StringIO()
    handler, root = logging.StreamHandler(output), logging.getLogger()
    handler.setFormatter(logs.formatter())
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield output
    root.removeHandler(handler)
    root.setLevel(level)


def client_of(email: str) -> APIClient:
    client = APIClient()
    token = client.post("/api/v1/auth/token", {"email": email, "password": PASSWORD}).json()["access"]
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


@pytest.fixture
def zyxwen(bus: Bus) -> APIClient:
    wanted = {"email": EMAIL, "password": PASSWORD, "name": NAME, "phone": PHONE, "language": "ko"}
    assert APIClient().post("/api/v1/users", wanted).status_code == 201
    User.objects.update(verified_at=timezone.now())
    return client_of(EMAIL)


@pytest.fixture
def neighbour(bus: Bus) -> APIClient:
    services.sign_up(email="hana@example.com", password=PASSWORD, name="Hana")
    User.objects.update(verified_at=timezone.now())
    return client_of("hana@example.com")


def user() -> User:
    return User.objects.get(name=NAME)


def place(client: APIClient, **wishes: str) -> int:
    body = {"productId": 1, "quantity": 1, "address": STREET, "paymentToken": "tok_ok"}
    headers = {"HTTP_IDEMPOTENCY_KEY": f"{wishes.pop('key', EMAIL)} {Order.objects.count()}"}
    response = client.post("/api/v1/orders", body | wishes, **headers)
    assert response.status_code == 202, response.json()
    order_id: int = response.json()["id"]
    return order_id


def fails_for(order_id: int, bus: Bus) -> None:
    """Two steps cannot write what they are to write, and PostgreSQL says what that is; then they can."""
    for change in (f"ADD CONSTRAINT planted CHECK (order_id <> {order_id})", "DROP CONSTRAINT planted"):
        for service, table in DEAD.items():
            with connections[service].cursor() as cursor:
                cursor.execute(f"ALTER TABLE {table} {change}")
            for letter in apps.get_model(service, "DeadLetter").objects.all():
                dead_letters.replay(letter)
        bus.drain()
    for service in DEAD:
        assert apps.get_model(service, "DeadLetter").objects.filter(resolution="HANDLED").exists()


def live(client: APIClient, bus: Bus) -> dict[str, int]:
    """Orders that come to their end in every way, by that way."""
    orders = {"dead": place(client)}
    fails_for(orders["dead"], bus)
    orders["declined"] = place(client, paymentToken="tok_declined")
    orders["refused"] = place(client, address=f"{STREET} addr_refused_by_recipient")
    orders["completed"] = place(client)
    moved = {"address": f"{STREET}, second floor"}
    answer = client.post(f"/api/v1/orders/{orders['completed']}/changes", moved, HTTP_IDEMPOTENCY_KEY="moved")
    assert answer.json()["address"] == moved["address"]
    orders["too late"] = place(client)
    bus.drain(timers=False)
    bus.tick("delivery.advance_deliveries")
    client.post(f"/api/v1/orders/{orders['too late']}/changes", moved, HTTP_IDEMPOTENCY_KEY="moved")
    bus.drain()
    assert dict(OrderChange.objects.values_list("order_id", "status")) == {
        orders["completed"]: "MADE",
        orders["too late"]: "REFUSED",
    }
    orders["cancelled"] = place(client)
    staff = services.User.objects.create_superuser(email="staff@example.com", name="Staff", password=PASSWORD)
    desk = Client()
    desk.force_login(staff)
    why = {"action": "cancel", "_selected_action": orders["cancelled"], "confirmed": 1, "why": f"{NAME} asked"}
    assert desk.post("/admin/orders/order/", why).status_code == 302
    page = f"/admin/orders/order/{orders['completed']}"
    assert desk.post(f"{page}/note/", {"text": f"{NAME} has called"}).status_code == 302
    refund = {"other": 100, "reason": f"{NAME} was sad", "key": "k", "agreed": 100}
    assert desk.post(f"{page}/refund/", refund).status_code == 302
    bus.drain()
    orders["carrier"] = place(client)
    bus.drain(timers=False)
    number = Delivery.objects.get(order_id=orders["carrier"]).tracking_number
    said = f"{NAME} has left {STREET}"
    take_carrier_event(carrier=number[:2], event_id="1", tracking_number=number, status="FAILED", reason=said)
    bus.drain()
    bus.tick("notifications.send_pending")
    users = ContentType.objects.get(app_label="accounts", model="user")
    LogEntry.objects.create(user=staff, action_flag=2, content_type=users, object_id=user().pk, object_repr=EMAIL)
    return orders


def leave(client: APIClient, bus: Bus) -> None:
    response = client.post("/api/v1/users/me/erasure", {"password": PASSWORD})
    assert response.status_code == 202, response.json()
    is_due()
    TIMERS["accounts.erase_closed"]()
    bus.drain()


def is_due() -> None:
    User.objects.filter(erasure_due_at__isnull=False).update(erasure_due_at=timezone.now())


# —— The search ———————————————————————————————————————————————————————————————————————————————————————————————————————
def found(bus: Bus, logged: StringIO, mail: Path) -> set[str]:
    """Where something that names the customer stands."""
    needles = [form.lower() for one in NEEDLES for form in {one, json.dumps(one)[1:-1]}]
    places = {table for service in SERVICES for table in _tables_with(service, needles)}
    texts = {"queues": json.dumps(bus.messages, default=str), "logs": logged.getvalue(), **_cached()}
    texts |= {path.name: path.read_text() for path in mail.iterdir()}
    return places | {name for name, text in texts.items() if any(needle in text.lower() for needle in needles)}


def _tables_with(service: str, needles: list[str]) -> Iterator[str]:
    patterns = [f"%{needle}%".replace("\\", "\\\\") for needle in needles]
    with connections[service].cursor() as cursor:
        for table in connections[service].introspection.table_names(cursor):
            cursor.execute(f'SELECT count(*) FROM "{table}" AS row WHERE lower(row::text) LIKE ANY(%s)', [patterns])
            if cursor.fetchone()[0]:
                yield table


def _cached() -> dict[str, str]:
    redis = {alias: get_redis_connection(alias) for alias in ("default", "locks")}
    return {f"redis {key}": f"{key} {one.dump(key)}" for one in redis.values() for key in one.scan_iter("*")}


def violations() -> list[Violation]:
    return [one for one in audit(strict=True) if isinstance(one, Violation)]


def test_who_leaves_takes_everything_along_and_leaves_nothing(
    bus: Bus, zyxwen: APIClient, neighbour: APIClient, logged: StringIO, mail: Path
):
    orders, other = live(zyxwen, bus), place(neighbour, address="1 Other Street", key="hana")
    bus.drain()
    bus.tick("notifications.send_pending")
    before = found(bus, logged, mail)
    assert before >= {
        "accounts_user", "orders_order", "orders_timelineentry", "orders_idempotencykey", "orders_inbox",
        "inventory_reservation", "payments_inbox", "payments_payment", "delivery_delivery", "delivery_carrierevent",
        "delivery_outbox", "delivery_deadletter", "notifications_notification", "notifications_deadletter",
        "django_admin_log", "accounts_letter",
    }  # fmt: skip
    files = set(mail.iterdir())
    assert {Order.objects.get(pk=pk).status for pk in orders.values()} == {"COMPLETED", "CANCELLED"}
    totals = {pk: (one.total_price, one.created_at) for pk, one in Order.objects.in_bulk(orders.values()).items()}

    answer = zyxwen.get("/api/v1/users/me/export")
    assert answer.headers["Cache-Control"] == "no-store"
    archive = ZipFile(BytesIO(answer.content))
    leave(zyxwen, bus)

    told = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(told) == {f"{service}.json" for service in SERVICES}
    assert all(one in "".join(told.values()) for one in (NAME, EMAIL, "+821097538642", STREET))
    assert all(STREET in told[name] for name in ("orders.json", "delivery.json"))
    assert {one["id"] for one in json.loads(told["orders.json"])["orders"]} == set(orders.values())
    addresses = json.loads(told["orders.json"])["addresses"]
    assert {one["order_id"] for one in addresses} == set(orders.values())
    (moved,) = [one["address"] for one in addresses if one["change_id"]]
    assert moved == f"{STREET}, second floor"
    assert set(OrderChange.objects.values_list("address", "request_hash")) == {("", "")}  # sealed, it was not found
    assert "Other Street" not in "".join(told.values())
    assert found(bus, logged, mail) == set()
    assert "Other Street" in Delivery.objects.get(order_id=other).address
    assert len(files) > len(set(mail.iterdir())) > 0
    kept = {pk: (one.total_price, one.created_at) for pk, one in Order.objects.in_bulk(orders.values()).items()}
    assert kept == totals
    assert violations() == []


# —— Leaving ——————————————————————————————————————————————————————————————————————————————————————————————————————————
def test_an_order_that_runs_is_waited_for_and_its_customer_told_of_it(bus: Bus, zyxwen: APIClient):
    order_id = place(zyxwen)
    bus.drain(timers=False)

    leave(zyxwen, bus)

    assert (user().is_active, user().erased_at) == (False, None)
    bus.drain()
    assert Order.objects.get(pk=order_id).status == "COMPLETED"
    assert Notification.objects.filter(order_id=order_id, recipient=EMAIL, type="COMPLETED").exists()
    pk = user().pk
    is_due()
    TIMERS["accounts.erase_closed"]()
    bus.drain()
    assert User.objects.get(pk=pk).email.startswith(f"erased-{pk}-")
    assert not Notification.objects.filter(order_id=order_id).exists()
    assert violations() == []


def test_a_closed_account_opens_nothing_and_its_address_is_free_again(bus: Bus, zyxwen: APIClient):
    pair = services.issue(user())
    browser = Client()
    browser.force_login(user())

    leave(zyxwen, bus)

    sign_in = {"email": EMAIL, "password": PASSWORD}
    assert APIClient().post("/api/v1/auth/token", sign_in).status_code == 401
    assert APIClient().post("/api/v1/auth/token/refresh", {"refresh": pair.refresh}).status_code == 401
    assert browser.get("/api/v1/users/me").status_code in (401, 403)
    assert APIClient().post("/api/v1/users", sign_in | {"name": "Somebody"}).status_code == 201


def test_nobody_keeps_another_from_leaving_by_signing_up_with_what_is_left_of_them(zyxwen: APIClient, bus: Bus):
    pk = user().pk
    for left in (f"erased-{pk}@erased.invalid", f"erased-{pk}-@erased.invalid"):
        services.sign_up(email=left, password=PASSWORD, name="Squatter")
    TOTPDevice.objects.create(user_id=pk, name="app")  # of when they were staff
    leave(zyxwen, bus)
    assert User.objects.get(pk=pk).erased_at
    assert not TOTPDevice.objects.exists()


def test_nobody_is_erased_while_a_token_of_theirs_is_good(bus: Bus, zyxwen: APIClient, settings: Any):
    asked_at = timezone.now()
    answer = zyxwen.post("/api/v1/users/me/erasure", {"password": PASSWORD}).json()

    TIMERS["accounts.erase_closed"]()

    assert user().erased_at is None
    assert datetime.fromisoformat(answer["erasedAfter"]) > asked_at + settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"]
    assert erasure.close(user().pk) == user().erasure_due_at  # asked again, it is no later


def test_the_password_is_asked_for_again_and_guesses_are_counted(bus: Bus, zyxwen: APIClient, settings: Any):
    settings.GUESSES_PER_ACCOUNT = 2
    wrong = [zyxwen.post("/api/v1/users/me/erasure", {"password": "wrong"}).status_code for _ in range(3)]

    assert wrong == [401, 401, 429]
    assert user().is_active
    assert zyxwen.post("/api/v1/users/me/erasure", {}).status_code == 400


def test_who_is_let_in_again_is_not_erased(bus: Bus, zyxwen: APIClient):
    zyxwen.post("/api/v1/users/me/erasure", {"password": PASSWORD})
    User.objects.update(is_active=True)
    is_due()

    TIMERS["accounts.erase_closed"]()

    assert (user().email, user().erasure_due_at) == (EMAIL, None)


def test_who_comes_back_and_leaves_again_is_not_erased_before_the_new_time(bus: Bus, zyxwen: APIClient, settings: Any):
    first = erasure.close(user().pk)
    User.objects.update(erasure_due_at=first - timedelta(hours=1))
    assert erasure.close(user().pk) == first - timedelta(hours=1)  # asked again, it is no later
    User.objects.update(is_active=True)
    back = services.issue(user())

    again = erasure.close(user().pk)

    assert again == user().erasure_due_at
    assert again > timezone.now() + settings.SIMPLE_JWT["ACCESS_TOKEN_LIFETIME"]
    TIMERS["accounts.erase_closed"]()
    assert (user().erased_at, bool(back)) == (None, True)


@pytest.mark.parametrize("running", [[], [1]])
def test_who_comes_back_and_leaves_again_while_the_timer_looks_is_erased_at_the_new_time(
    bus: Bus, zyxwen: APIClient, running: list[int]
):
    class Orders:
        def get_orders_of(self, user_id: int) -> OrdersOf:
            User.objects.update(is_active=True)
            erasure.close(user_id)
            return OrdersOf(running=running, ended=[])

    erasure.close(user().pk)
    is_due()

    with substituting(OrdersService, Orders()):
        TIMERS["accounts.erase_closed"]()

    assert user().erased_at is None
    assert user().erasure_due_at > timezone.now() + timedelta(minutes=11)


def erased_of_which_delivery_has_not_heard(bus: Bus, zyxwen: APIClient) -> None:
    """Its message was lost."""
    place(zyxwen)
    bus.drain()
    zyxwen.post("/api/v1/users/me/erasure", {"password": PASSWORD})
    is_due()
    TIMERS["accounts.erase_closed"]()
    bus.relay()
    bus.messages = [message for message in bus.messages if message[0] != "delivery.erase_customer"]
    bus.drain(timers=False)


def test_the_erased_account_that_staff_activate_is_still_erased_everywhere(bus: Bus, zyxwen: APIClient):
    erased_of_which_delivery_has_not_heard(bus, zyxwen)
    User.objects.update(is_active=True)

    is_due()
    TIMERS["accounts.erase_closed"]()
    bus.drain(timers=False)

    assert violations() == []


def test_the_admins_log_loses_what_names_the_customer_and_nothing_else(bus: Bus):
    lee = services.sign_up(email="on@example.com", password=PASSWORD, name="e", phone="010-9753-8642")
    other = services.sign_up(email="simon@example.com", password=PASSWORD, name="Simon Sleeve")
    staff = User.objects.create_superuser(email="staff@example.com", name="Staff", password=PASSWORD)
    User.objects.update(verified_at=timezone.now())
    hers, his = place(client_of(lee.email), key="hers"), place(client_of(other.email), key="his")
    bus.drain()

    def logged(model: str, pk: Any, what: str, said: str) -> int:
        label, _, name = model.partition(".")
        kind = ContentType.objects.get(app_label=label, model=name)
        row = {"user": staff, "action_flag": 2, "content_type": kind, "object_id": str(pk)}
        return LogEntry.objects.create(**row, object_repr=what, change_message=said).pk

    gone = [
        logged("accounts.user", lee.pk, lee.email, "verify the address"),
        logged("orders.order", hers, f"order {hers}: PAID", "Cancellation asked for: Lee called"),
        logged("delivery.delivery", 4711, f"delivery of order {hers}: FAILED", "Settled (LOST): Lee has it"),
        logged("orders.order", his, f"order {his}: PAID", "Cancellation asked for: he is On@Example.com."),
        logged("inventory.stockitem", 1, "product 1 at main", "Booked +1: from 010 9753-8642"),
        logged("inventory.stockitem", 1, "product 1 at main", "Booked +1: from +82 10 9753 8642"),
    ]
    kept = [
        logged("accounts.user", other.pk, other.email, "verify the address"),
        logged("orders.order", his, f"order {his}: PAID", "Cancellation asked for: wrong sleeve, on@example.com.au"),
        logged("delivery.delivery", hers, f"delivery of order {hers}0: FAILED", "Settled (LOST): e-mail sent"),
        logged("inventory.stockitem", 1, "product 1 at main", "Booked +1: see 10109753864 and 010975386420"),
        logged("catalog.product", 1, "Sleeve e", "name: Channel → Sleeve e"),
    ]
    before = dict(LogEntry.objects.values_list("pk", "change_message"))

    erasure.close(lee.pk)
    is_due()
    TIMERS["accounts.erase_closed"]()

    after = dict(LogEntry.objects.values_list("pk", "change_message"))
    assert {pk for pk in before if before[pk] != after[pk]} == set(gone)
    assert {after[pk] for pk in gone} == {""}
    assert LogEntry.objects.filter(pk__in=kept, object_repr__regex="[a-z]").count() == len(kept)


def test_addresses_under_a_key_that_is_gone_are_empty_in_the_archive(bus: Bus, zyxwen: APIClient, settings: Any):
    old, moved = place(zyxwen), place(zyxwen)
    with override_settings(SEAL_KEYS=["the key that replaced the one that leaked"]):
        new, key = place(zyxwen), {"HTTP_IDEMPOTENCY_KEY": "moved"}
        change = {"address": f"{STREET}, second floor"}
        assert zyxwen.post(f"/api/v1/orders/{moved}/changes", change, **key).status_code == 202
        OrderChange.objects.update(status="MADE")

        answer = zyxwen.get("/api/v1/users/me/export")

        assert answer.status_code == 200
        told = json.loads(ZipFile(BytesIO(answer.content)).read("orders.json"))
        found = sorted((one["order_id"], one["address"]) for one in told["addresses"])
        assert found == [(old, ""), (moved, ""), (moved, change["address"]), (new, STREET)]
        assert [addresses.current(pk) for pk in (old, moved, new)] == ["", change["address"], STREET]
    assert addresses.current(moved) == ""  # it goes where the latest says, not where one goes that can be read


@pytest.mark.parametrize("service", ["orders", "payments", "delivery", "notifications"])
def test_what_is_erased_is_locked_in_order_first(service: str):
    """Without an order, a customer who is erased could be a deadlock with whoever changes rows of several orders."""
    with CaptureQueriesContext(connections[service]) as asked:
        import_module(f"{service}.privacy").erase([CustomerErased(user_id=1, order_ids=(2, 1))])
    assert re.search(r"ORDER BY \S+.* FOR UPDATE$", asked[0]["sql"])


def test_staff_are_not_erased(bus: Bus, zyxwen: APIClient):
    User.objects.update(is_staff=True)

    refused = client_of(EMAIL).post("/api/v1/users/me/erasure", {"password": PASSWORD})

    assert (refused.status_code, refused.json()["code"]) == (409, "U004")
    assert user().is_active


def test_a_message_that_was_lost_is_sent_again_until_everybody_has_heard(bus: Bus, zyxwen: APIClient):
    erased_of_which_delivery_has_not_heard(bus, zyxwen)
    assert {one.invariant for one in violations()} == {"erased_is_gone"}

    is_due()
    TIMERS["accounts.erase_closed"]()
    bus.drain(timers=False)

    assert violations() == []
    assert User.objects.filter(erasure_due_at__isnull=False).exists()  # it is looked at once more
    is_due()
    TIMERS["accounts.erase_closed"]()
    assert not User.objects.filter(erasure_due_at__isnull=False).exists()


def test_a_customer_with_many_orders_is_erased_in_parts(bus: Bus, zyxwen: APIClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(erasure, "ORDERS", 2)
    monkeypatch.setattr(personal, "PORTION", 2)
    orders = [place(zyxwen) for _ in range(3)]
    bus.drain()

    archive = ZipFile(BytesIO(zyxwen.get("/api/v1/users/me/export").content))
    leave(zyxwen, bus)

    listed = [json.loads(archive.read(name))["orders"] for name in ("orders.json", "orders-2.json")]
    assert [[one["id"] for one in part] for part in listed] == [orders[:2], orders[2:]]
    assert not Delivery.objects.exclude(address="").exists()
    assert violations() == []


# —— By command ———————————————————————————————————————————————————————————————————————————————————————————————————————
def test_the_commands_are_in_the_staff_log(bus: Bus, zyxwen: APIClient, tmp_path: Path):
    place(zyxwen)
    bus.drain()
    pk, archive, said = user().pk, tmp_path / "hers.zip", StringIO()

    call_command("customer", "export", EMAIL.upper(), "--to", str(archive), stdout=said)
    call_command("customer", "erase", EMAIL, stdout=said)

    assert STREET in ZipFile(archive).read("delivery.json").decode()
    assert archive.stat().st_mode & 0o777 == 0o600
    assert f"Wrote all data about user {pk} to {archive}." in said.getvalue()
    assert f"The account of user {pk} is closed. It is erased after 20" in said.getvalue()
    actions = StaffAction.objects.filter(target=f"user {pk}").order_by("pk").values_list("way", "action")
    assert list(actions) == [("customer", "export"), ("customer", "close")]
    assert not user().is_active


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["export", "nobody@example.com", "--to", "x.zip"], "There is no user nobody@example.com."),
        (["export", EMAIL, "--to", "."], ".: File exists."),
        (["erase", "nobody@example.com"], "There is no user"),
    ],
)
def test_the_command_refuses(bus: Bus, zyxwen: APIClient, arguments: list[str], complaint: str):
    with pytest.raises(CommandError, match=f"^{re.escape(complaint)}"):
        call_command("customer", *arguments)


# —— As time goes by ——————————————————————————————————————————————————————————————————————————————————————————————————
def test_addresses_are_forgotten_some_time_after_the_end(bus: Bus, zyxwen: APIClient, settings: Any):
    old, young = place(zyxwen), place(zyxwen)
    bus.drain()
    running = place(zyxwen)
    bus.drain(timers=False)
    then = timezone.now() - settings.PRIVACY_AFTER - timedelta(minutes=1)
    of_old = {"order_id__in": [old, running]}
    Delivery.objects.filter(**of_old).update(created_at=then, updated_at=then)

    assert [TIMERS["delivery.purge"]() for _ in range(2)] == [1, 0]

    assert dict(Delivery.objects.values_list("order_id", "address")) == {old: "", young: STREET, running: STREET}
    assert violations_of("forgotten_in_time") == []


def violations_of(invariant: str) -> list[Violation]:
    return [one for one in violations() if one.invariant == invariant]


def test_e_mails_that_are_files_go_with_their_rows(mail: Path, settings: Any):
    send_mail("Subject", "Text", None, [EMAIL, "hana@example.com"])
    old, young = sorted(mail.iterdir())
    os.utime(old, (0, 0))
    assert {path.stat().st_mode & 0o777 for path in (old, young)} == {0o600}

    assert TIMERS["notifications.purge"]() == 1

    assert list(mail.iterdir()) == [young]
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    mailfiles.delete(EMAIL)
    assert mailfiles.delete_older(timezone.now() + timedelta(days=1)) == 0
    assert list(mail.iterdir()) == [young]

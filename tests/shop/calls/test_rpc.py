"""Calls between services: every contract in process and over HTTP, with the same assertions; and what HTTP adds."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest
import stamina
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.test import Client
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts.letters import ask_to_verify
from accounts.models import Letter, User
from accounts.services import scopes_of
from catalog.models import Product
from sagas import Unavailable, emit
from sagas.events import encode
from sagas.messages import Emitted, Messages
from shop.calls import CalledInTransaction, breaker, connect, substituting, wire
from shop.calls import client as caller
from shop.calls.headers import PassOn
from shop.contracts.accounts import AccountsService, Contact, ContactsService, UnknownUser, UserView
from shop.contracts.catalog import CatalogService, ProductSnapshot
from shop.contracts.events import OrderCompleted
from shop.contracts.inventory import InventoryService, StockView
from shop.contracts.messages import MessagesService
from shop.contracts.offers import OFFERS
from shop.contracts.orders import OrdersOf, OrdersService
from shop.contracts.personal import PersonalDataService
from tests.conftest import SERVICES
from tests.support.calls import become, known
from tests.support.live import serving

DATABASES = ["accounts", "catalog", "orders", "inventory"]
pytestmark = pytest.mark.django_db(databases=DATABASES)


@pytest.fixture(autouse=True)
def _fresh(settings: Any) -> Iterator[None]:
    known(settings, "accounts", "orders", "notifications")
    become(settings, "orders")
    breaker.forget()
    yield
    breaker.forget()
    caller.disconnect()


@contextmanager
def over_http(settings: Any, url: str) -> Iterator[None]:
    """As in a process where none of the services runs."""
    settings.LOCAL_SERVICES = ()
    settings.SERVICE_URLS = dict.fromkeys(SERVICES, url)
    yield


@pytest.fixture
def live(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a server for every contract, in its own process, also for those that orders may not call."""
    for contract in (ContactsService, InventoryService):
        monkeypatch.setitem(OFFERS, contract, OFFERS[contract]._replace(callers=("orders",)))  # type: ignore[arg-type]
    settings.ROOT_URLCONF = "shop.calls.urls"
    with serving(DATABASES) as url, over_http(settings, url):
        yield url


@pytest.fixture(params=["in process", "over HTTP"])
def _mode(request: pytest.FixtureRequest) -> None:
    if request.param == "over HTTP":
        request.getfixturevalue("live")


both_modes = pytest.mark.usefixtures("_mode")


# --- Every contract -------------------------------------------------------------------------------------------------
def user(**fields: Any) -> User:
    return User.objects.create(**{"email": f"{uuid4().hex}@example.com", "password": "!", "name": "김하나"} | fields)


@both_modes
class TestAccounts:
    def test_users(self):
        one, other = user(), user(name='Sam "Three" \\ Ünal')
        accounts = connect(AccountsService)

        assert accounts.get_user(one.pk) == UserView(id=one.pk, name="김하나", email=one.email)
        assert accounts.get_users({one.pk: 1, other.pk: 2, 2**62: 3}.keys()) == {
            one.pk: UserView(id=one.pk, name="김하나", email=one.email),
            other.pk: UserView(id=other.pk, name='Sam "Three" \\ Ünal', email=other.email),
        }
        assert accounts.get_users([]) == accounts.get_users({0}) == {}
        assert accounts.find_users('sam "three" \\') == [other.pk]
        assert accounts.find_users(one.email.upper()) == [one.pk]

    def test_contacts(self):
        one = user(phone="+821012345678", language="en")

        assert connect(ContactsService).get_contacts({one.pk, one.pk + 1}) == {
            one.pk: Contact(
                user_id=one.pk, name="김하나", email=one.email, phone="+821012345678", language="en", verified=False
            )
        }

    def test_rights(self):
        staff, locked_out = (user(is_staff=True, is_superuser=True, is_active=active) for active in (True, False))

        rights = connect(ContactsService).get_rights([staff.pk, locked_out.pk, 4711])
        assert rights == {staff.pk: scopes_of(staff), locked_out.pk: [], 4711: []}
        assert "accounts.view_user" in rights[staff.pk]
        assert connect(ContactsService).get_rights([]) == {}

    def test_letters(self):
        one = user(password="hashed")  # one with none that can be typed is no customer
        ask_to_verify(one.email)
        contacts = connect(ContactsService)
        (letter,) = contacts.claim_letters()

        assert (letter.kind, letter.email, letter.language) == ("VERIFY", one.email, "ko")
        assert contacts.claim_letters() == []
        contacts.mark_letters_sent([letter.id])
        assert Letter.objects.get(pk=letter.id).sent_at

    def test_a_declared_error_is_an_answer_and_the_same_exception(self):
        for _ in range(10):  # more than would open a circuit
            with pytest.raises(UnknownUser, match=r"^There is no user 4711\.$") as refused:
                connect(AccountsService).get_user(4711)
            assert type(refused.value) is UnknownUser
            assert (refused.value.code, refused.value.detail) == ("U001", "There is no user 4711.")
        assert all(one["state"] == "closed" and one["failures"] == 0 for one in breaker.snapshots())

    def test_arguments_that_the_contract_does_not_have(self):
        accounts: Any = connect(AccountsService)
        with pytest.raises(TypeError):
            accounts.get_user(1, 2)
        with pytest.raises(AttributeError):
            accounts.delete_user(1)


@both_modes
class TestCatalog:
    def test_products(self):
        sold = Product.objects.create(name="클린 코드", price=33000, currency="KRW", category="BOOK")
        gone = Product.objects.create(name="Gone", price=2**62, currency="KRW", category="BOOK", active=False)

        assert connect(CatalogService).get_products(range(gone.pk + 2)) == {
            sold.pk: ProductSnapshot(id=sold.pk, name="클린 코드", price=33000, currency="KRW", active=True),
            gone.pk: ProductSnapshot(id=gone.pk, name="Gone", price=2**62, currency="KRW", active=False),
        }

    def test_no_call_inside_a_transaction(self):
        catalog = connect(CatalogService)
        for database in DATABASES:
            with transaction.atomic(using=database), pytest.raises(CalledInTransaction, match=f"on '{database}'"):
                catalog.get_products([1])
        assert catalog.get_products([1]) == {}


@both_modes
class TestInventory:
    def test_stock(self):
        import_string("inventory.services.seed_stock")({7: 5})
        apps.get_model("inventory", "StockItem").objects.update(reserved=2)

        assert connect(InventoryService).get_stock([7, 8]) == {7: StockView(product_id=7, on_hand=5, reserved=2)}


@both_modes
class TestOrders:
    def test_whose_orders_have_ended(self, settings: Any):
        become(settings, "accounts")
        orders = apps.get_model("orders", "Order").objects
        made = [
            orders.create(user_id=user_id, status=status, currency="KRW", total_price=1)
            for user_id, status in [(7, "PENDING"), (7, "COMPLETED"), (8, "PENDING"), (7, "CANCELLED")]
        ]

        found = connect(OrdersService).get_orders_of(7)

        assert found == OrdersOf(running=[made[0].pk], ended=[made[1].pk, made[3].pk])
        assert connect(OrdersService).get_orders_of(9) == OrdersOf(running=[], ended=[])


@both_modes
class TestPersonalData:
    def test_of_a_user_and_of_orders(self, settings: Any):
        become(settings, "accounts")
        one = user(phone="+821012345678")
        order = apps.get_model("orders", "Order").objects.create(user_id=one.pk, currency="KRW", total_price=1)

        of_user = connect(PersonalDataService, of="accounts").get_personal_data(one.pk, [])
        of_orders = connect(PersonalDataService, of="orders").get_personal_data(one.pk, [order.pk])

        assert [(row["email"], row["phone"]) for row in of_user["users"]] == [(one.email, one.phone)]
        assert "password" not in of_user["users"][0]
        assert [row["id"] for row in of_orders["orders"]] == [order.pk]
        nothing: dict[str, Any] = {"staff_actions": []}
        assert connect(PersonalDataService, of="catalog").get_personal_data(one.pk, []) == nothing


@both_modes
class TestMessages:
    def test_messages(self):
        event, follower = OrderCompleted(order_id=1, user_id=7), OrderCompleted(order_id=1, user_id=7)
        before = timezone.now()
        with transaction.atomic(using="orders"):
            emit(event, OrderCompleted(order_id=2, user_id=7), service="orders")
        apps.get_model("orders", "Inbox").objects.create(
            step="orders.complete_order", event_id=event.event_id, event_type="E", correlation_id=1,
            emitted=[encode(follower)],
        )  # fmt: skip
        messages = connect(MessagesService, of="orders")
        handled = [("orders.complete_order", event.event_id)]

        assert messages.get_messages([1]) == Messages(
            emitted=[
                Emitted(1, event.event_id, "OrderCompleted", "orders.outbox"),
                Emitted(1, follower.event_id, "OrderCompleted", "orders.complete_order"),
            ],
            handled=handled,
        )
        assert messages.get_messages([1], before) == Messages(emitted=[], handled=handled)
        assert messages.get_messages([3]) == Messages(emitted=[], handled=[])


def test_every_contract_is_tested_in_both_modes_with_all_its_methods():
    source = Path(__file__).read_text()
    for contract in OFFERS:
        assert f"connect({contract.__name__}" in source
        for name in wire.methods_of(contract):
            assert f".{name}(" in source
    assert set(wire.errors_of(AccountsService)) == {"UnknownUser"}


@pytest.mark.django_db(databases=["catalog"], transaction=True)
def test_no_call_inside_a_transaction_outside_test_cases_either():
    with transaction.atomic(using="catalog"), pytest.raises(CalledInTransaction):
        connect(CatalogService).get_products([1])
    assert connect(CatalogService).get_products([1]) == {}


def test_a_test_may_put_another_in_its_place():
    class Fake:
        def get_users(self, user_ids):
            return {user_id: UserView(id=user_id, name="Fake", email="fake@example.com") for user_id in user_ids}

    with substituting(AccountsService, Fake()):
        assert connect(AccountsService).get_users([7])[7].name == "Fake"
    assert connect(AccountsService).get_users([7]) == {}


def test_without_the_others_url_the_error_says_what_to_set(settings: Any):
    settings.SHOP_SERVICE, settings.LOCAL_SERVICES, settings.SERVICE_URLS = "orders", ("orders",), {}
    with pytest.raises(ImproperlyConfigured, match=r"orders calls catalog: set CATALOG_URL\."):
        connect(CatalogService)


# --- The calling side -----------------------------------------------------------------------------------------------
class Stub:
    """Answers in turn as it is told, the last answer for ever: a status, a status and a body, or None to hang up."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.headers = list(answers), []
        self.release = threading.Event()
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                stub.headers.append(dict(self.headers))
                answer = stub.answers.pop(0) if len(stub.answers) > 1 else stub.answers[0]
                if answer == "silence":
                    stub.release.wait()
                elif answer is not None:
                    status, body = answer if isinstance(answer, tuple) else (answer, b"{}")
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def stub(settings: Any) -> Iterator[Callable[..., Stub]]:
    stubs: list[Stub] = []

    def start(*answers: Any) -> Stub:
        stubs.append(stub := Stub(*answers))
        threading.Thread(target=stub.server.serve_forever, args=(0.01,), daemon=True).start()
        settings.LOCAL_SERVICES = ()
        settings.SERVICE_URLS = {"catalog": f"http://127.0.0.1:{stub.server.server_port}/"}
        return stub

    yield start
    for one in stubs:
        one.release.set()
        one.server.shutdown()
        one.server.server_close()


def ask() -> Any:
    return connect(CatalogService).get_products([1])


@pytest.mark.parametrize("failure", [None, 500, 502, 503, (200, b"<html>"), (200, b'{"1":{"id":1}}')])
def test_a_failure_is_tried_again_up_to_three_times(stub: Callable[..., Stub], failure: Any):
    with stamina.set_testing(True, attempts=3):
        once = stub(failure, failure, 200)
        assert ask() == {}
        assert len(once.headers) == 3
        for_ever = stub(failure)
        with pytest.raises(Unavailable):
            ask()
        assert len(for_ever.headers) == 3


def test_each_attempt_is_signed_anew(stub: Callable[..., Stub]):
    with stamina.set_testing(True, attempts=3):
        once = stub(503, 200)
        ask()
    assert len({headers[wire.NONCE] for headers in once.headers}) == 2


@pytest.mark.parametrize("refusal", [400, 401, 404, 413, (422, b'{"error":"SystemExit","detail":""}')])
def test_a_refusal_is_not_tried_again(stub: Callable[..., Stub], refusal: Any):
    with stamina.set_testing(True, attempts=3):
        once = stub(refusal)
        with pytest.raises(Unavailable):
            ask()
    assert len(once.headers) == 1


def test_a_service_that_does_not_answer_is_given_its_time_in_all(
    stub: Callable[..., Stub], settings: Any, monkeypatch: pytest.MonkeyPatch
):
    settings.CALL_TIMEOUT = 0.2
    now, given, post = [0.0], list[float](), httpx.Client.post

    def wait_to_the_end(client: httpx.Client, *args: Any, timeout: httpx.Timeout, **kwargs: Any) -> Any:
        given.append(timeout.connect + timeout.read)
        now[0] += timeout.read
        return post(client, *args, timeout=timeout, **kwargs)

    monkeypatch.setattr(httpx.Client, "post", wait_to_the_end)
    clocks = SimpleNamespace(monotonic=lambda: now[0], perf_counter=time.perf_counter)
    monkeypatch.setattr(caller, "time", clocks)
    with stamina.set_testing(True, attempts=3):
        stub("silence")
        with pytest.raises(Unavailable):
            ask()
    assert given == [pytest.approx(one) for one in (0.2, 0.04, 0.008)]
    assert now[0] < 0.2


def test_nobody_at_the_port(settings: Any):
    settings.LOCAL_SERVICES, settings.SERVICE_URLS = (), {"catalog": "http://127.0.0.1:1"}
    with pytest.raises(Unavailable, match="catalog"):
        ask()


def test_who_fails_is_left_alone_and_tried_again_later(
    stub: Callable[..., Stub], settings: Any, monkeypatch: pytest.MonkeyPatch
):
    now = [0.0]
    circuit = breaker.Breaker("catalog", clock=lambda: now[0])
    monkeypatch.setitem(breaker._breakers, "catalog", circuit)
    catalog = stub(*[500] * 5, 200)
    for _ in range(5):
        with pytest.raises(Unavailable, match="500"):
            ask()
    with pytest.raises(breaker.CircuitOpen):
        ask()
    assert len(catalog.headers) == 5

    now[0] = 10.0
    assert [ask(), ask(), ask()] == [{}, {}, {}]
    assert circuit.snapshot()["state"] == "closed"


def test_id_and_trace_of_the_request_travel_along(stub: Callable[..., Stub], rf: Any):
    catalog = stub(200)
    trace = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01", "b3": f"{'a' * 32}-{'b' * 16}-1"}
    request = rf.get("/", headers={**trace, "X-B3-Flags": "1", "X-Request-ID": "no good / id", "Cookie": "secret"})
    request.request_id = "abc-1"

    PassOn(lambda _: ask())(request)
    ask()  # outside a request there is nothing to pass on

    within, without = ({name.lower(): value for name, value in headers.items()} for headers in catalog.headers)
    assert {name: within.get(name) for name in trace} == trace
    assert (within["x-request-id"], within["x-b3-flags"]) == ("abc-1", "1")
    assert "cookie" not in within
    assert {"x-request-id", "traceparent", "b3"}.isdisjoint(without)


def test_a_connection_is_used_again_and_never_by_a_forked_child(stub: Callable[..., Stub], monkeypatch: Any):
    stub(200)
    ask()
    mine = caller._client()
    assert caller._client() is mine
    with monkeypatch.context() as forked:
        forked.setattr(caller.os, "getpid", lambda: -1)
        assert caller._client() is not mine
        caller.disconnect()
    assert caller._client() is mine


# --- Operators ------------------------------------------------------------------------------------------------------
def test_operators_see_the_circuits(client: Client, stub: Callable[..., Stub], settings: Any):
    stub(500)
    with pytest.raises(Unavailable):
        ask()
    settings.LOCAL_SERVICES = ("orders",)
    path = "/api/v1/operations/orders/breakers"
    assert client.get(path).status_code == 401
    client.force_login(user())
    assert client.get(path).status_code == 403
    client.force_login(user(is_staff=True))
    assert client.get(path).status_code == 403  # not by that alone
    client.force_login(user(is_staff=True, is_superuser=True))
    assert client.get(path).json() == [
        {"service": "catalog", "state": "closed", "calls": 1, "failures": 1, "retryAfter": 0.0}
    ]
    assert client.get("/api/v1/operations/payments/breakers").status_code == 404


def test_calls_are_measured(stub: Callable[..., Stub], client: Client):
    stub(200)
    ask()
    assert (
        b'shop_call_seconds_count{method="get_products",outcome="answered",service="catalog"}'
        in client.get("/metrics").content
    )

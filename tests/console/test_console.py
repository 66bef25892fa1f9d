"""The console: landing page, live state, sample orders, the saga's page."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from celery import current_app
from django.apps import apps
from django.conf import settings as project
from django.contrib.auth.models import Permission
from django.db import connections
from django.db.utils import ConnectionHandler
from django.test import Client
from django.utils import timezone
from django_redis.pool import ConnectionFactory

from accounts.models import User
from accounts.services import make_groups, seed_users
from commands.samples import USERS
from console import state as states
from console.orders import listed
from console.pending import OPEN_CHANGES
from console.saga import duration
from console.texts import LANGUAGES, TEXTS
from console.views import MAP
from inventory.services import seed_stock
from orders.changes.requests import request_change
from orders.models import Order, Return
from orders.returns.decisions import Found, approve, inspect, refuse
from orders.returns.models import OPEN
from orders.returns.requests import Wanted, request_return
from sagas import dead_letters
from sagas.events import encode
from sagas.publisher import broker
from sagas.topology import declare
from shop import faults
from shop.contracts.events import Line, OrderCreated
from shop.operations.timeline import oldest_waiting, story
from tests.conftest import SERVICES
from tests.support.ordering import place_order
from tests.support.processes import eventually

DATABASES = pytest.mark.django_db(databases=SERVICES)
ACCOUNT = ("confirm", "forgot", "reset")
REAL_QUEUES = states._queues
TEMPLATES = project.BASE_DIR / "console/templates/console"


@pytest.fixture(autouse=True)
def _asked_anew(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(states, "_known", None)
    monkeypatch.setattr(states, "PATIENCE", 60.0)  # however busy the machine is
    monkeypatch.setattr(states, "_queues", dict)  # whatever other tests have left with the broker
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def development(settings: Any) -> None:
    settings.DEBUG = True


@pytest.fixture
def samples(development: None, bus: Any, no_waiting: None) -> Any:
    """Sample users and a product with ten pieces; messages go over the bus."""
    seed_users(USERS, password="for-this-test")
    apps.get_model("catalog", "Product").objects.create(pk=7, name="클린 코드", price=7000)
    seed_stock({7: 10})
    return bus


def placing(outcome: str = "normal", **changes: Any) -> dict[str, Any]:
    customer = User.objects.get(email="customer1@example.com")
    return {"customer": customer.pk, "product": 7, "outcome": outcome} | changes


def place(outcome: str = "normal") -> int:
    """Place an order on the landing page; its id."""
    answer = Client().post("/console/orders", placing(outcome))
    assert answer.status_code == 302, answer.content.decode()
    return int(answer.url.rpartition("/")[2])


def signed_in(group: str = "order clerks", **fields: Any) -> Client:
    """The client of somebody who has signed in, by default a clerk of orders."""
    make_groups()
    user = User.objects.create(**{"email": "staff@example.com", "name": "Staff", "is_staff": True} | fields)
    if group:
        user.groups.add(apps.get_model("auth", "Group").objects.get(name=group))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Takes databases away: they are on a port where nobody listens."""

    def take_away(*services: str) -> None:
        elsewhere = ConnectionHandler(
            {"default": {}}
            | {
                service: project.DATABASES[service]
                | {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": 1}
                for service in services
            }
        )
        for service in services:
            monkeypatch.setitem(connections._connections.__dict__, service, elsewhere[service])

    before = {service: connections[service] for service in SERVICES}
    yield take_away
    monkeypatch.undo()
    assert {service: connections[service] for service in SERVICES} == before


# --- The landing page ------------------------------------------------------------------------------------------------
def test_strangers_are_told_nothing_of_what_goes_on_inside():
    page = Client().get("/")
    assert page.status_code == 200
    assert "What goes on inside is shown to staff." in page.content.decode()
    for path in ("/console/state", "/console/orders/1/now"):
        assert Client().get(path).status_code == 403
    assert Client().get("/console/orders/1").url == "/admin/login/?next=/console/orders/1"
    assert Client().post("/console/orders", {}).status_code == 404
    assert Client().get("/console/faults").status_code == 404


@pytest.mark.parametrize(
    ("path", "headers", "cookies", "expected"),
    [
        ("/", {}, {}, "en"),
        ("/", {"Accept-Language": "ko-KR,ko;q=0.9,en;q=0.8"}, {}, "ko"),
        ("/", {"Accept-Language": "fr, en;q=0.5, ko;q=0.4"}, {}, "en"),
        ("/?lang=en", {"Accept-Language": "ko"}, {}, "en"),
        ("/?lang=tlh", {"Accept-Language": "ko"}, {}, "ko"),
        ("/", {"Accept-Language": "en"}, {"lang": "ko"}, "ko"),
        ("/", {"Accept-Language": ";;;q=x,\u00e9"}, {}, "en"),
    ],
)
def test_the_language(path: str, headers: dict[str, str], cookies: dict[str, str], expected: str):
    client = Client()
    client.cookies.load(cookies)
    page = client.get(path, headers=headers)
    assert f'<html lang="{expected}">' in page.content.decode()
    assert TEXTS["title"][LANGUAGES.index(expected)] in page.content.decode()


def test_a_chosen_language_is_remembered():
    client = Client()
    client.get("/?lang=ko")
    assert '<html lang="ko">' in client.get("/", headers={"Accept-Language": "en"}).content.decode()


def test_every_text_is_there_in_both_languages_and_used():
    sources = [path.read_text() for path in TEMPLATES.glob("*.html")]
    modules = (project.BASE_DIR / "console").glob("*.py")
    code = [path.read_text() for path in modules if path.stem != "texts"]
    named = {name for text in sources for name in re.findall(r"\bt\.(\w+)", text)}
    quoted = {name for text in code for name in re.findall(r"[\"'](\w+)[\"']", text)}
    derived = {"link_flower", "link_traces", "link_dashboards", "share", "seconds", "switch"}
    derived |= {f"{name}_what" for name in derived if name.startswith("link")}
    derived |= {f"{direction}_{service}" for direction in ("map", "undo") for service in MAP}
    derived |= {f"account_{page}{part}" for page in ACCOUNT for part in ("", "_what", "_do", "_done")}
    derived |= {"account_email", "account_new", "account_password"}  # fields
    derived |= {f"pending_change_{status}" for status in OPEN_CHANGES}
    derived |= {f"pending_return_{status}" for status in OPEN}

    assert named - set(TEXTS) == set()
    assert set(TEXTS) - named - quoted - derived == set()
    assert all(len(both) == len(LANGUAGES) and all(both) for both in TEXTS.values())


@DATABASES
def test_without_samples_the_form_says_where_they_come_from(development: None):
    assert "manage.py seed makes them" in Client().get("/").content.decode()


@DATABASES
def test_the_page_shows_though_databases_are_away(samples: Any, away: Any):
    away("accounts", "catalog", "orders")
    page = Client().get("/")
    assert page.status_code == 200
    assert "No order can be placed here now" in page.content.decode()
    assert Client().post("/console/orders", {}).status_code == 503


def test_where_the_other_pages_are(settings: Any):
    assert "<code>FLOWER_URL</code>" in Client().get("/").content.decode()
    settings.LINKS = settings.LINKS | {"flower": "http://localhost:5555"}
    page = Client().get("/").content.decode()
    assert 'href="http://localhost:5555"' in page
    assert "<code>FLOWER_URL</code>" not in page


# --- Right now -------------------------------------------------------------------------------------------------------
def now(client: Client | None = None) -> Any:
    states._known = None
    answer = (client or Client()).get("/console/state")
    assert answer.status_code == 200
    return answer.json()


@DATABASES
def test_all_is_well(samples: Any):
    news = now()
    assert (news["said"], news["down"], news["ended"]) == ("Everything answers.", [], False)
    assert news["html"].count('class="is">up<') == len(SERVICES) + 2
    assert "None yet." in news["html"]


@DATABASES
def test_staff_see_it_in_production_too():
    assert now(signed_in("operators"))["down"] == []


@DATABASES
def test_a_database_that_is_away_turns_its_card_red(samples: Any, away: Any):
    away("payments")
    news = now()
    assert (news["said"], news["down"]) == ("Not answering: payments", ["payments"])
    assert re.search(r'service down">\s*<div><b>payments', news["html"])
    assert news["html"].count("The database does not answer.") == 1


@DATABASES
def test_without_orders_the_rest_is_shown(samples: Any, away: Any):
    away("orders")
    assert "Orders: their database is away." in now()["html"]


@DATABASES
def test_a_service_elsewhere_that_does_not_answer(samples: Any, settings: Any):
    settings.SERVICE_URLS = settings.SERVICE_URLS | {"catalog": "http://127.0.0.1:1"}
    assert now()["down"] == ["catalog"]


@DATABASES
def test_broker_and_redis_away(samples: Any, settings: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(states, "_queues", REAL_QUEUES)
    monkeypatch.setattr(current_app.conf, "broker_write_url", "amqp://guest:guest@127.0.0.1:1//")
    gone = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = settings.CACHES | {"locks": gone}
    monkeypatch.setattr(ConnectionFactory, "_pools", {})
    news = now()
    assert news["down"] == ["broker", "redis"]
    assert "the outbox keeps their events" in news["html"]
    assert "row locks alone" in news["html"]


@DATABASES
def test_what_waits_is_shown_with_its_age(samples: Any):
    order_id = place()
    Order.objects.update(progress_at=timezone.now() - timedelta(seconds=90))
    outbox = apps.get_model("orders", "Outbox").objects
    outbox.update(created_at=timezone.now() - timedelta(seconds=75))
    found = {one.name: one for one in states.ask().services}

    assert (found["orders"].unsent, round(found["orders"].lag)) == (1, 75)
    assert found["orders"].late
    assert (found["inventory"].oldest is not None, found["payments"].oldest) == (True, None)
    assert not found["inventory"].late
    assert set(oldest_waiting()) == {"inventory", "notifications"}
    news = now()
    assert re.search(r'service late">\s*<div><b>orders', news["html"])
    assert f"/console/orders/{order_id}" in news["html"]
    assert "stalled: 1" in re.sub(r"\s+", " ", news["html"])


@DATABASES
def test_the_age_of_what_is_deferred(samples: Any):
    place()
    unsent = apps.get_model("orders", "Unsent").objects
    unsent.update(deferred_until=timezone.now() - timedelta(seconds=4))
    orders = next(one for one in states.ask().services if one.name == "orders")
    assert (orders.unsent, orders.lag, round(orders.deferred_age)) == (0, None, 4)
    unsent.update(deferred_until=timezone.now() + timedelta(seconds=30))  # a relay has it in hand
    assert next(one for one in states.ask().services if one.name == "orders").deferred_age is None


@DATABASES
def test_a_queue_that_nobody_listens_to(samples: Any, monkeypatch: pytest.MonkeyPatch):
    queues = {"payments": states.Queue(waiting=3, consumers=0, dead=1), "orders": states.Queue(0, 2, 0)}
    monkeypatch.setattr(states, "_queues", lambda: queues)
    html = now()["html"]
    assert html.count("No worker listens to this queue.") == html.count('class="is">behind<') == 1
    assert re.search(r"workers</dt><dd>2<", html)
    assert re.search(r'set aside by the broker</dt><dd class="bad">1<', html)


@DATABASES
def test_messages_in_a_queue_are_counted():
    def waiting() -> int:
        return REAL_QUEUES()["inventory"].waiting

    with current_app.connection_for_write() as connection:
        declare(connection)
    before = waiting()
    broker.send("inventory.reserve_stock", [{}], "made by a test")
    try:
        assert eventually(lambda: waiting() == before + 1)
    finally:
        with broker.producer() as producer:
            producer.channel.queue_purge("inventory")


@DATABASES
def test_dead_letters_are_counted_and_linked(samples: Any):
    event = encode(OrderCreated(order_id=1, checkout=None))
    dead_letters.record("inventory", "inventory.reserve_stock", event, ValueError("no"))
    html = now()["html"]
    assert 'href="/admin/inventory/deadletter/?open=1"' in html
    assert html.count("needs a look") == 1


# --- Dead letters ----------------------------------------------------------------------------------------------------
def letter(step: str, order_id: int, error: str = "a bad day") -> None:
    dead_letters.record(
        step.partition(".")[0], step, encode(OrderCreated(order_id=order_id, checkout=None)), ValueError(error)
    )


@DATABASES
def test_the_dead_letters_of_all_services_on_one_page(samples: Any):
    boss = signed_in("", is_superuser=True)
    assert "every event was handled" in boss.get("/console/dead-letters").content.decode()
    letter("inventory.reserve_stock", 4711)
    letter("payments.charge_payment", 4712, "the gateway speaks in tongues")
    page = boss.get("/console/dead-letters").content.decode()
    assert page.count('type="checkbox"') == 2
    for part in ("the gateway speaks in tongues", '"/console/orders/4711"', '"/admin/payments/deadletter/?open=1"'):
        assert part in page


@DATABASES
def test_what_an_error_means_is_said_in_the_readers_language(samples: Any):
    dead_letters.record("inventory", "inventory.reserve_stock", {"order_id": 4711}, faults.Poisoned("by a test"))
    boss = signed_in("", is_superuser=True)
    assert "Turn it off, and replay the letter." in boss.get("/console/dead-letters").content.decode()
    korean = boss.get("/console/dead-letters", headers={"Accept-Language": "ko"}).content.decode()
    assert "끄고 다시 보내세요." in korean
    assert "Poisoned: by a test" in korean


@DATABASES
def test_letters_are_shown_and_decided_by_those_who_may(samples: Any, settings: Any):
    letter("inventory.reserve_stock", 4711)
    page = Client().get("/console/dead-letters").content.decode()  # on a development machine, everybody looks
    assert ("4711" in page, "checkbox" in page) == (True, False)
    settings.DEBUG = False
    assert Client().get("/console/dead-letters").url == "/admin/login/?next=/console/dead-letters"
    client = signed_in()
    assert "4711" not in client.get("/console/dead-letters").content.decode()  # not the shop staff's business
    right = Permission.objects.get(codename="view_deadletter", content_type__app_label="inventory")
    User.objects.get(email="staff@example.com").user_permissions.add(right)
    page = client.get("/console/dead-letters").content.decode()
    assert ("4711" in page, "checkbox" in page) == (True, False)


@DATABASES
def test_letters_of_a_service_whose_database_is_away(samples: Any, away: Any):
    letter("inventory.reserve_stock", 4711)
    away("payments")
    page = Client().get("/console/dead-letters").content.decode()
    assert ("4711" in page, page.count("The database does not answer.")) == (True, 1)


@DATABASES
def test_more_letters_than_a_page_holds(samples: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("console.letters.SHOWN", 2)
    for order_id in (1, 2, 3):
        letter("inventory.reserve_stock", order_id)
    page = Client().get("/console/dead-letters").content.decode()
    assert ("/console/orders/1" in page, page.count("/console/orders/")) == (False, 2)
    assert "There are more." in page


@DATABASES
def test_who_asks_again_at_once_gets_the_same_answer(samples: Any, django_assert_num_queries: Any):
    first = states.state()
    with django_assert_num_queries(0, using="orders"):
        assert states.state() is first


# --- Placing an order ------------------------------------------------------------------------------------------------
@DATABASES
@pytest.mark.parametrize(
    ("outcome", "status", "reason", "left"),
    [
        ("normal", "COMPLETED", "", 9),
        ("out_of_stock", "CANCELLED", "not enough in stock of product 7", 10),
        ("declined", "CANCELLED", "the payment was declined", 10),
        ("delivery_refused", "CANCELLED", "refused by the recipient", 10),
    ],
)
def test_each_choice_ends_as_it_says(samples: Any, outcome: str, status: str, reason: str, left: int):
    order_id = place(outcome)
    page = Client().get(f"/console/orders/{order_id}").content.decode()
    assert "The saga is under way." in page
    assert f'data-live="/console/orders/{order_id}/now?lang=en"' in page

    samples.drain()

    news = Client().get(f"/console/orders/{order_id}/now").json()
    assert (news["ended"], news["status"]) == (True, status)
    assert reason in news["html"]
    assert ("backward" in re.findall(r'<li class="row[^"]*"', news["html"])[-1]) == (status == "CANCELLED")
    assert "data-live" not in Client().get(f"/console/orders/{order_id}").content.decode()
    assert apps.get_model("inventory", "StockItem").objects.get(product_id=7).on_hand == left


@DATABASES
def test_an_order_that_waits_for_its_customer_is_shown_with_its_payment_page(samples: Any, settings: Any):
    order_id = place("on_a_page")
    samples.drain()
    (url,) = apps.get_model("payments", "Payment").objects.values_list("action_url", flat=True)
    reader = signed_in("", email="reader@example.com")
    User.objects.get(email="reader@example.com").user_permissions.add(Permission.objects.get(codename="view_order"))
    for client, debug, linked in (
        (Client(), True, True),
        (signed_in("order clerks"), False, True),
        (reader, False, False),
    ):
        settings.DEBUG = debug
        shown = client.get(f"/console/orders/{order_id}").content.decode()
        assert "Waits for the customer to pay with TOSS_PAYMENTS, until" in shown
        assert (f'href="{url}"' in shown) == linked


@DATABASES
@pytest.mark.parametrize("changes", [{"outcome": "free"}, {"product": "8"}, {"customer": "x"}])
def test_what_the_form_does_not_offer(samples: Any, changes: dict[str, str]):
    answer = Client().post("/console/orders", placing(**changes), headers={"Accept": "text/html"})
    assert answer.status_code == 400
    assert "Please choose what the form offers." in answer.content.decode()
    assert not Order.objects.exists()


@DATABASES
def test_a_refusal_is_shown(samples: Any, monkeypatch: pytest.MonkeyPatch):
    from orders.placing import InactiveProduct

    def refuse(**_: Any) -> None:
        raise InactiveProduct("It is no longer sold.")

    monkeypatch.setattr("orders.placing.place_order", refuse)
    answer = Client().post("/console/orders", placing(), headers={"Accept": "text/html"})
    assert answer.status_code == 400
    assert "It is no longer sold." in answer.content.decode()


@DATABASES
def test_an_order_is_placed_from_our_own_page_only(samples: Any):
    assert Client(enforce_csrf_checks=True).post("/console/orders", placing()).status_code == 403
    assert not Order.objects.exists()


# --- The saga of an order --------------------------------------------------------------------------------------------
@DATABASES
def test_no_such_order(development: None):
    assert Client().get("/console/orders/4711").status_code == 404
    assert Client().get("/console/orders/4711/now").status_code == 404


@DATABASES
def test_lanes_delays_and_what_is_waited_for(samples: Any):
    order_id = place()
    rows = Client().get(f"/console/orders/{order_id}/now").json()["html"]
    assert re.findall(r'<li class="row lane-\d (\w+)', rows) == ["emitted", "waiting", "waiting"]

    samples.drain()

    rows = Client().get(f"/console/orders/{order_id}/now").json()["html"]
    lanes = re.findall(r'lane-(\d) [^"]*">\s*<span class="since">\+(?:\d+ ms|[\d.]+ s)</span>', rows)
    assert set(lanes) == {"0", "1", "2", "3", "4"}
    assert len(lanes) == len(re.findall(r'<li class="row ', rows)) == 17


@DATABASES
def test_a_card_leads_to_the_one_that_caused_it(samples: Any):
    order_id = place()
    samples.drain()
    rows = Client().get(f"/console/orders/{order_id}/now").json()["html"]
    ids = set(re.findall(r'<a id="([^"]+)"', rows))
    causes = re.findall(r'<span class="cause"><a href="#([^"]+)"', rows)
    assert len(causes) == 14  # of 17: the request and the carrier's timer, twice, begin by themselves
    assert set(causes) <= ids
    charged = rows.partition('<a id="handled-charge_payment')[2].partition("</li>")[0]
    assert "inventory: reserve_stock" in charged


@DATABASES
def test_what_came_again_is_marked(samples: Any):
    order_id = place()
    samples.relay()
    position = [step for step, _ in samples.messages].index("inventory.reserve_stock")
    samples.deliver(position, keep=True)
    samples.deliver(position, keep=True)
    samples.drain()

    entries = {(one.step, one.event): one.repeats for one in story(order_id).entries}
    assert entries["inventory.reserve_stock", "OrderCreated"] == 2
    assert "came again 2×" in Client().get(f"/console/orders/{order_id}/now").json()["html"]


@DATABASES
def test_dead_letters_are_marked_and_their_end(samples: Any):
    order_id = place()
    samples.relay()
    step, payload = next(one for one in samples.messages if one[0] == "inventory.reserve_stock")
    samples.messages.clear()
    dead_letters.record(step.partition(".")[0], step, payload[0], RuntimeError("a bad day\nwith a traceback"))
    letter = apps.get_model("inventory", "DeadLetter").objects.get()

    news = Client().get(f"/console/orders/{order_id}/now").json()
    assert f'href="/admin/inventory/deadletter/{letter.pk}/change/"' in news["html"]
    assert "RuntimeError: a bad day" in news["html"]
    assert "traceback" not in news["html"]
    assert [one.step for one in story(order_id).waiting] == ["notifications.notify"]

    dead_letters.discard(letter, "seen")
    assert "discarded" in Client().get(f"/console/orders/{order_id}/now").json()["html"]


@DATABASES
def test_a_lane_whose_database_is_away_says_so(samples: Any, away: Any):
    order_id = place()
    samples.drain()
    away("payments")
    news = Client().get(f"/console/orders/{order_id}/now").json()
    assert "their database is away: payments" in re.sub(r"\s+", " ", news["html"])
    assert (news["ended"], news["status"]) == (False, "COMPLETED")
    assert "--lane: 2" not in news["html"]


@DATABASES
def test_without_the_orders_database_the_rest_is_told(samples: Any, away: Any):
    order_id = place()
    samples.drain()
    away("orders")
    page = Client().get(f"/console/orders/{order_id}")
    assert page.status_code == 200
    assert "The orders database does not answer." in page.content.decode()


@DATABASES
def test_its_trace(samples: Any, settings: Any):
    order_id = place()
    trace = "0af7651916cd43dd8448eb211c80319c"
    outbox = apps.get_model("orders", "Outbox").objects
    payload = outbox.get().payload | {"trace": f"00-{trace}-b7ad6b7169203331-01"}
    outbox.update(payload=payload)
    settings.LINKS = settings.LINKS | {"traces": "http://localhost:9411/zipkin"}
    page = Client().get(f"/console/orders/{order_id}").content.decode()
    assert f'href="http://localhost:9411/zipkin/traces/{trace}"' in page


# --- Acting on an order ----------------------------------------------------------------------------------------------
@DATABASES
def test_only_staff_with_the_right_act(samples: Any):
    order_id = place()
    customer = Client()
    customer.force_login(User.objects.get(email="customer1@example.com"))
    for client in (Client(), customer, signed_in("")):
        for action in ("cancel", "resume"):
            assert client.post(f"/console/orders/{order_id}/{action}").status_code == 403
    assert Order.objects.get().status == "PENDING"


@DATABASES
def test_staff_cancel_and_the_log_says_who(samples: Any):
    order_id, client = place(), signed_in("support")
    assert client.get(f"/console/orders/{order_id}/cancel").status_code == 405
    assert client.post(f"/console/orders/{order_id}/delete").status_code == 404

    page = client.post(f"/console/orders/{order_id}/cancel", {"why": " "}, follow=True).content.decode()
    assert "Nothing was cancelled: say why." in page
    why = {"why": "ordered twice"}
    page = client.post(f"/console/orders/{order_id}/cancel", why, follow=True).content.decode()
    assert "Cancellation asked for; delivery decides." in page
    assert f'href="/admin/delivery/delivery/?q={order_id}"' in page
    assert "/admin/payments/payment/" in page
    assert f"/console/orders/{order_id}/cancel" not in page  # once is enough
    assert "is cancelling." in client.post(f"/console/orders/{order_id}/cancel", why, follow=True).content.decode()
    samples.drain()

    order = Order.objects.get()
    assert (order.status, order.cancellation_reason) == ("CANCELLED", "cancelled by the shop's staff")
    entry = apps.get_model("admin", "LogEntry").objects.get()
    assert (entry.user.email, entry.object_id, entry.change_message) == (
        "staff@example.com",
        str(order_id),
        "Cancellation asked for: ordered twice",
    )


@DATABASES
def test_staff_resume(samples: Any):
    order_id, client = place(), signed_in()
    samples.relay()
    samples.messages.clear()  # lost
    page = client.post(f"/console/orders/{order_id}/resume", follow=True).content.decode()
    assert "Its events are emitted again." in page
    samples.drain()
    assert Order.objects.get().status == "COMPLETED"

    Order.objects.update(look_at=None)
    page = client.post(f"/console/orders/{order_id}/resume", follow=True).content.decode()
    assert "This order is closed" in page
    assert apps.get_model("admin", "LogEntry").objects.count() == 1


@DATABASES
def test_the_right_to_see_is_asked_for_in_production(samples: Any, settings: Any):
    order_id = place()
    settings.DEBUG = False
    client = signed_in("")
    assert client.get(f"/console/orders/{order_id}").status_code == 302
    User.objects.get(email="staff@example.com").user_permissions.add(Permission.objects.get(codename="view_order"))
    assert client.get(f"/console/orders/{order_id}").status_code == 200


@DATABASES
def test_nobody_is_signed_in_while_accounts_is_away(samples: Any, away: Any):
    order_id, client = place(), signed_in()
    away("accounts")
    assert client.get("/").status_code == 200
    page = client.get(f"/console/orders/{order_id}")
    assert (page.status_code, b"Signed in as" in page.content) == (200, False)
    assert client.post(f"/console/orders/{order_id}/cancel").status_code == 403


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 ms"), (0.0341, "34 ms"), (3.207, "3.21 s"), (125, "2 min 5 s"), (7300, "2 h 1 min")],
)
def test_durations(seconds: float, text: str):
    assert duration(seconds) == text


# --- The list of orders, and one event --------------------------------------------------------------------------------
@DATABASES
def test_orders_are_listed_narrowed_and_found(samples: Any):
    first = place()
    samples.drain()
    second = place()
    page = Client().get("/console/orders").content.decode()
    assert page.index(f"/console/orders/{second}") < page.index(f"/console/orders/{first}")
    for narrowed, shown in (
        ("?status=COMPLETED", [first]),
        ("?progress=open", [second]),
        ("?progress=ended", [first]),
        (f"?before={second}", [first]),
        ("?q=customer1@example.com", [first, second]),
        ("?q=클린", [first, second]),
        (f"?q=%23{first}x", []),
        ("?q=nobody", []),
        ("?status=NOSUCH", []),
        ("?before=x", [first, second]),
        ("?q=" + "9" * 30, []),
    ):
        page = Client().get(f"/console/orders{narrowed}").content.decode()
        assert [pk for pk in (first, second) if f'href="/console/orders/{pk}"' in page] == shown, narrowed
    assert Client().get(f"/console/orders?q={first}").headers["Location"] == f"/console/orders/{first}"


@DATABASES
@pytest.mark.parametrize("number", ["1Z999AA10123456784", "9400110200881234567890", "771234567890"])
def test_an_order_is_found_by_a_number_of_any_carrier(number: str, samples: Any):
    place()
    order_id = place()
    apps.get_model("orders", "ParcelNumber").objects.create(order_id=order_id, number=number)
    for written in (number, number.lower()):
        (order,) = listed({"q": written}, know=False, phones=False).orders or [None]
        assert order.pk == order_id, written


@DATABASES
def test_the_list_is_for_those_who_may_see_orders(samples: Any, settings: Any):
    settings.DEBUG = False
    assert Client().get("/console/orders").status_code == 302
    assert signed_in().get("/console/orders").status_code == 200


@DATABASES
def test_an_event_is_shown_without_what_pays(samples: Any):
    order_id = place()
    created = apps.get_model("orders", "Outbox").objects.get()
    path = f"/console/orders/{order_id}/events/{created.event_id}"
    assert path in Client().get(f"/console/orders/{order_id}").content.decode()
    page = Client().get(path).content.decode()
    assert "OrderCreated" in page
    assert "tok_" not in page
    assert created.payload["checkout"]["address"] not in page
    assert Client().get(f"/console/orders/{order_id + 1}/events/{created.event_id}").status_code == 404

    samples.relay()
    event = dict(created.payload)
    dead_letters.record("inventory", "inventory.reserve_stock", event, ValueError("line one\nline two"))
    page = Client().get(path).content.decode()
    assert "line one\nline two" in page
    assert "<summary>traceback</summary>" in page


@DATABASES
def test_the_page_says_why_an_order_waits_and_when_it_is_tried_again(samples: Any, settings: Any):
    order_id = place()
    samples.drain(timers=False, until=lambda: Order.objects.get().status == "DELIVERY_STARTED")
    apps.get_model("delivery", "Delivery").objects.update(due_at=datetime(2026, 11, 28, 9, 30, 5, tzinfo=UTC))
    page = Client().get(f"/console/orders/{order_id}").content.decode()
    assert "Waits for the carrier to take the parcel" in page
    assert "09:30:05 UTC" in page
    assert "If it does not move, its events are emitted again" in page
    payment = apps.get_model("payments", "Payment")
    payment.objects.update(status="REFUNDING", attempts=3, due_at=datetime(2026, 11, 28, 9, 31, 0, tzinfo=UTC))
    page = Client().get(f"/console/orders/{order_id}").content.decode()
    assert "TOSS_PAYMENTS has not given an answer, 3 times" in page
    assert "09:31:00 UTC" in page


@DATABASES
def test_why_a_message_was_not_sent_is_shown_to_those_who_may_see_its_recipient(samples: Any, settings: Any):
    order_id = place()
    why = {"attempts": 2, "error": "SmsRefused: 010-1000-0001 is no number"}
    sms = {"event_id": uuid4(), "order_id": order_id, "user_id": 1, "type": "PAID", "channel": "SMS"}
    apps.get_model("notifications", "Notification").objects.create(**sms, **why, due_at=timezone.now())
    settings.DEBUG = False
    client, rights = signed_in(""), User.objects.get(email="staff@example.com").user_permissions
    rights.add(Permission.objects.get(codename="view_order"))
    page = client.get(f"/console/orders/{order_id}").content.decode()
    assert ("could not be sent, 2 times" in page, "010-1000-0001" in page) == (True, False)
    rights.add(Permission.objects.get(codename="view_recipient"))
    assert "010-1000-0001" in client.get(f"/console/orders/{order_id}").content.decode()


@DATABASES
def test_the_page_shows_changes_and_returns_and_goes_on_with_them(samples: Any):
    order_id = place_order(user_id=1, lines=[Line(7, 2)]).pk
    path = f"/console/orders/{order_id}"
    request_change(order_id, key="k", quantities={7: 1})
    page = Client().get(path).content.decode()
    assert "A change waits for the order to be paid" in page
    assert "-1 × Product 7" in page
    samples.drain()
    assert Client().get(f"{path}/now").json()["ended"]
    returned = request_return(order_id, Wanted(lines=[Line(7, 1)]))
    samples.drain()
    page = Client().get(path).content.decode()
    assert f"Return {returned.pk} waits for staff to approve it" in page
    assert "The order has ended; a return is under way." in page
    assert f'href="/admin/orders/return/{returned.pk}/change/"' in page
    assert not Client().get(f"{path}/now").json()["ended"]
    refuse(returned.pk, reason="worn")
    samples.drain()
    page = Client().get(f"{path}/now").json()
    assert page["ended"]
    assert "ReturnRefused" in page["html"].replace("<wbr>", "")


@DATABASES
def test_a_return_and_its_exchange_lead_to_each_other(samples: Any):
    order_id = place_order(user_id=1, lines=[Line(7, 1)]).pk
    samples.drain()
    number = request_return(order_id, Wanted(lines=[Line(7, 1)], kind="EXCHANGE")).pk
    approve(number)
    samples.drain()
    inspect(number, {7: Found(1, 0, 0)})
    samples.relay()
    while Return.objects.get().status != "EXCHANGING":
        samples.deliver()
    exchange = Order.objects.get(exchange_for=number).pk
    page = Client().get(f"/console/orders/{order_id}").content.decode()
    assert f"The exchange for return {number} is on its way" in page
    assert f'<a href="/console/orders/{exchange}">exchange: order {exchange}</a>' in page
    page = Client().get(f"/console/orders/{exchange}").content.decode()
    assert f'<a href="/console/orders/{order_id}#return-{number}">return {number}</a>' in page
    samples.drain()
    assert Client().get(f"/console/orders/{order_id}/now").json()["ended"]


@DATABASES
def test_signing_out(samples: Any):
    client = signed_in()
    assert 'action="/admin/logout/"' in client.get("/").content.decode()
    client.post("/admin/logout/")
    assert 'action="/admin/logout/"' not in client.get("/").content.decode()

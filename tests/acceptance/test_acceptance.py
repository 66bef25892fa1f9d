"""The shop as docker-compose.yml starts it: seven services apart, played through the gateway."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from secrets import token_hex
from zipfile import ZipFile

import httpx
import psycopg2
import pytest
import yaml
from celery import current_app
from django.conf import settings
from playwright.sync_api import Browser, Page, expect

from sagas.conf import choreography
from sagas.publisher import broker, publish
from shop.contracts.events import Checkout, PaymentCompleted
from tests.support.chromium import keep, sign_in
from tests.support.compose import WEB
from tests.support.ordering import PAID_AND_SENT
from tests.support.otlp import Receiver, receiving, unconnected
from tests.support.processes import eventually
from tests.support.running_shop import Queues
from tests.support.stage import PASSWORD, Customer, Stage, raised
from tests.support.whole_life import LIFE

pytestmark = pytest.mark.acceptance

TOLD = {(what, "SENT") for what in ("ORDER_RECEIVED", "SHIPPED", "DELIVERED", "COMPLETED")}
TAIL = 3000  # characters of each log that are shown when a test has failed
TRACES = "http://zipkin.example/zipkin"  # where the pages say that traces are
CALLER = "00f067aa0ba902b7"  # the span of a client that traces, too


@pytest.fixture(scope="module")
def collector() -> Iterator[Receiver]:
    """To which all processes send their spans."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def _up(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest, collector: Receiver
) -> Iterator[tuple[Stage, str]]:
    fake = [name for name, cache in settings.CACHES.items() if "CONNECTION_POOL_KWARGS" in cache["OPTIONS"]]
    if settings.EMBEDDED or fake or not settings.BROKER_URL.startswith("amqp"):
        pytest.fail("This needs PostgreSQL, RabbitMQ and Redis. `make test` finds or starts them.", pytrace=False)
    with Queues(settings.BROKER_URL) as queues:
        queues.delete()
        failed = request.session.testsfailed
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "TRACES_URL": TRACES}
        with raised(tmp_path_factory.mktemp("up"), given) as up:
            yield up
            if request.session.testsfailed > failed:
                for process in up[0].processes.values():
                    print(f"—— {process.name} ——", process.log[-TAIL:], sep="\n")
        queues.delete()


@pytest.fixture
def stage(_up: tuple[Stage, str]) -> Stage:
    return _up[0]


@pytest.fixture
def visitor(_up: tuple[Stage, str]) -> Iterator[Customer]:
    with Customer(base_url=_up[1], timeout=30) as visitor:
        yield visitor


@pytest.fixture(scope="module")
def _token(_up: tuple[Stage, str]) -> str:
    with Customer(base_url=_up[1], timeout=30) as client:
        return client.sign_in("customer1@example.com").headers["Authorization"]


@pytest.fixture
def customer(visitor: Customer, _token: str) -> Customer:
    visitor.headers["Authorization"] = _token
    return visitor


def sellable(customer: Customer, product_id: int) -> int:
    return customer.read(f"inventory/{product_id}")["quantity"]


# --- The contract's flows -------------------------------------------------------------------------------------------
def test_browse_order_and_receive(customer: Customer):
    assert {book["id"] for book in customer.read("products?category=BOOK")["results"]} == {7, 8}
    product = customer.read("products/7")
    assert (product["name"], product["price"]) == ("클린 코드", 33000)
    before = sellable(customer, 7)

    placed = customer.order(productId=7, quantity=2)

    assert placed.status_code == 202
    # The address is the gateway's.
    assert placed.headers["Location"] == f"{customer.base_url}/api/v1/orders/{placed.json()['id']}"
    order_id = placed.json()["id"]
    eventually(lambda: customer.status(order_id) == "COMPLETED")
    listed = customer.read("orders")["results"][0]
    assert (listed["id"], listed["userName"], listed["totalPrice"]) == (order_id, "김하나", 66000)
    assert sellable(customer, 7) == before - 2
    assert customer.read(f"payments?orderId={order_id}")["results"][0]["status"] == "COMPLETED"
    assert customer.read(f"deliveries?orderId={order_id}")["results"][0]["status"] == "DELIVERED"

    def told() -> bool:
        notices = customer.read(f"notifications?orderId={order_id}")["results"]
        assert {(notice["type"], notice["status"]) for notice in notices} == TOLD
        return True

    eventually(told)


def test_a_customer_gets_all_that_is_kept_of_them_from_every_service(customer: Customer):
    answer = customer.get("/api/v1/users/me/export")

    assert answer.status_code == 200, answer.text
    with ZipFile(BytesIO(answer.content)) as archive:
        assert set(archive.namelist()) == {f"{service}.json" for service in settings.SERVICES}


def test_refused_for_want_of_stock(customer: Customer):
    before = sellable(customer, 1)
    refused = customer.order(productId=1, quantity=before + 1, wait=10)
    assert (refused.status_code, refused.json()["code"]) == (409, "I002")
    assert sellable(customer, 1) == before


def test_refused_for_want_of_money(customer: Customer):
    before = sellable(customer, 2)
    refused = customer.order(productId=2, quantity=1, paymentToken="tok_declined", wait=10)
    assert (refused.status_code, refused.json()["code"]) == (409, "PAY002")
    eventually(lambda: sellable(customer, 2) == before)


def test_paid_and_cancelled(customer: Customer):
    before = sellable(customer, 3)
    paid = customer.order(productId=3, quantity=1, wait=10)
    assert paid.status_code == 201
    order_id = paid.json()["id"]

    cancelled = customer.post(f"/api/v1/orders/{order_id}/cancel")

    assert cancelled.status_code == 202
    eventually(lambda: customer.status(order_id) == "CANCELLED")
    assert customer.read(f"payments?orderId={order_id}")["results"][0]["status"] == "REFUNDED"
    eventually(lambda: sellable(customer, 3) == before)


def test_sent_back_by_the_recipient(customer: Customer):
    before = sellable(customer, 4)
    order_id = customer.order(productId=4, quantity=1, address="addr_refused_by_recipient").json()["id"]
    eventually(lambda: customer.status(order_id) == "CANCELLED")
    assert customer.read(f"payments?orderId={order_id}")["results"][0]["status"] == "REFUNDED"
    eventually(lambda: sellable(customer, 4) == before)


@pytest.mark.parametrize("played", LIFE, ids=lambda played: played.__name__)
def test_an_orders_life(customer: Customer, played: Callable[[Customer, Customer], None]):
    """What can become of an order, through the processes of all services."""
    with Customer(base_url=customer.base_url, timeout=30) as staff:
        played(customer, staff.sign_in("admin@example.com"))


# --- The gateway and the back office --------------------------------------------------------------------------------
def test_one_door(visitor: Customer, stage: Stage):
    assert [visitor.get(path).status_code for path in ("/readyz", "/metrics")] == [404, 404]
    for path in ("/", "/docs/", "/admin/login/", "/api/v1/schema/", "/static/admin/css/base.css"):
        assert visitor.get(path).status_code == 200, path
    assert visitor.get("/api/v1/products").status_code == 200
    assert visitor.get("/api/v1/orders").json()["code"] == "C006"
    hidden = visitor.post("/internal/accounts/AccountsService/get_users", json={"user_ids": [1]})
    assert (hidden.status_code, hidden.json()["code"]) == (404, "C010")
    inside = f"http://{stage.addresses['accounts']}:{stage.port}/internal/accounts/AccountsService/get_users"
    assert httpx.post(inside, json={"user_ids": [1]}).status_code == 401


def test_operators(visitor: Customer, customer: Customer):
    assert customer.get("/api/v1/operations/orders/breakers").status_code == 403
    visitor.sign_in("admin@example.com")
    circuits = visitor.read("operations/orders/breakers")
    assert {circuit["service"] for circuit in circuits} >= {"accounts", "catalog"}


def test_prometheus_finds_every_process_of_ours(stage: Stage):
    scraped = yaml.safe_load((settings.BASE_DIR / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    found = [one for job in scraped for one in job.get("dns_sd_configs", ())]
    targets = [f"{name}:{one['port']}" for one in found for name in one["names"]]
    ours = [target for target in targets if target.split(":")[0] in stage.processes]

    def counts(target: str) -> bool:
        name, port = target.split(":")
        try:
            answer = httpx.get(f"http://{stage.addresses[name]}:{stage.port if port == '8080' else port}/metrics")
        except httpx.ConnectError:  # a worker may still be starting
            return False
        return answer.status_code == 200 and "shop_" in answer.text

    assert {target.split(":")[0] for target in ours} >= set(WEB)

    def all_count() -> bool:
        assert [target for target in ours if not counts(target)] == []
        return True

    eventually(all_count)


def test_the_circuits_of_workers_are_measured_too(customer: Customer, stage: Stage):
    """Notifications' worker asks accounts for the customers' addresses."""
    order_id = customer.order(productId=8, quantity=1).json()["id"]
    eventually(lambda: customer.read(f"notifications?orderId={order_id}")["results"])
    text = httpx.get(f"http://{stage.addresses['notifications-worker']}:9100/metrics").text
    assert 'shop_breaker_state{name="accounts"} 0.0' in text
    assert 'shop_call_seconds_count{method="get_contacts",outcome="answered",service="accounts"}' in text


# --- Watched --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("header", ["traceparent", "b3", "X-B3"])
def test_one_order_is_one_trace_through_the_processes_of_all_services(
    customer: Customer, collector: Receiver, header: str
):
    trace = token_hex(16)
    said = {
        "traceparent": {"traceparent": f"00-{trace}-{CALLER}-01"},
        "b3": {"b3": f"{trace}-{CALLER}-1"},
        "X-B3": {"X-B3-TraceId": trace, "X-B3-SpanId": CALLER, "X-B3-Sampled": "1"},
    }[header]
    placed = customer.post("/api/v1/orders", json={"productId": 8, "quantity": 1, **PAID_AND_SENT}, headers=said)
    order_id = placed.json()["id"]
    eventually(lambda: customer.status(order_id) == "COMPLETED")

    def complete() -> bool:
        spans = [span for span in collector.spans if span.trace == trace]
        assert {span.service for span in spans} == {f"shop-{service}" for service in settings.SERVICES}
        assert {span.parent for span in unconnected(spans)} == {CALLER}
        steps = {span.name for span in spans if span.attributes.get("shop.order_id") == order_id}
        assert steps >= {"orders.relay", "inventory.reserve_stock", "delivery.start_delivery", "orders.complete_order"}
        return True

    eventually(complete)
    others = {span.trace for span in collector.of_order(order_id)}
    assert others == {trace}


def test_the_pages_behind_the_gateway(page: Page, customer: Customer, collector: Receiver):
    trace = token_hex(16)
    said = {"traceparent": f"00-{trace}-{CALLER}-01"}
    body = {"productId": 8, "quantity": 1, **PAID_AND_SENT, "address": "addr_refused_by_recipient"}
    placed = customer.post("/api/v1/orders", json=body, headers=said)
    order_id, url = placed.json()["id"], str(customer.base_url).rstrip("/")
    sign_in(page, url, PASSWORD)
    page.goto(f"{url}/console/orders/{order_id}")

    expect(page.get_by_role("status")).to_have_text("Cancelled – The saga has ended.")
    expect(page.locator(".row.backward").first).to_be_visible()
    expect(page.get_by_role("link", name=trace)).to_have_attribute("href", f"{TRACES}/traces/{trace}")
    page.get_by_role("link", name="Payment", exact=True).click()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    page.goto(url)
    expect(page.locator(".service")).to_have_count(len(settings.SERVICES) + 2)
    expect(page.get_by_role("status")).to_have_text("Everything answers.")


def test_flower(browser: Browser, customer: Customer, stage: Stage):
    user, _, password = stage.variables["FLOWER_BASIC_AUTH"].partition(":")
    url = f"http://{stage.addresses['flower']}:5555"
    context = browser.new_context(http_credentials={"username": user, "password": password})
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)

    def listens() -> bool:
        try:
            return httpx.get(url, trust_env=False).status_code == 401
        except httpx.TransportError:
            return False

    eventually(listens)
    assert httpx.get(f"{url}/metrics", trust_env=False).status_code == 401
    page.goto(url)
    for service in choreography().services:
        expect(page.get_by_role("link", name=f"{service}@")).to_be_visible()
    order_id = customer.order(productId=8, quantity=1).json()["id"]
    eventually(lambda: customer.status(order_id) == "COMPLETED")

    def shown() -> bool:
        page.goto(f"{url}/tasks")
        page.get_by_role("searchbox").fill("reserve_stock")
        expect(page.locator("#tasks-table")).to_contain_text(f"1 × OrderCreated (order {order_id})", timeout=2000)
        return True

    eventually(shown)
    keep(page, "flower")
    context.close()
    assert wrong == []


# --- One service away -----------------------------------------------------------------------------------------------
def test_without_accounts(customer: Customer, stage: Stage):
    assert customer.order(productId=8, quantity=1).status_code == 202
    stage.processes["accounts"].kill()

    listed = customer.read("orders")["results"]
    assert {order["userName"] for order in listed} == {"Unknown User"}
    order_id = customer.order(productId=8, quantity=1).json()["id"]
    for method, path in (("POST", "auth/token"), ("GET", "users/me")):
        away = customer.request(method, f"/api/v1/{path}", json={})
        assert (away.status_code, away.json()["code"]) == (503, "C008")
        assert away.headers["Retry-After"] == "3"
    eventually(lambda: customer.status(order_id) == "COMPLETED")

    stage.start("accounts")
    stage.healthy("accounts")
    eventually(lambda: {order["userName"] for order in customer.read("orders")["results"]} == {"김하나"})


def test_without_the_catalogue(customer: Customer, stage: Stage):
    stage.processes["catalog"].kill()

    for answer in (customer.order(productId=8, quantity=1), customer.get("/api/v1/products")):
        assert (answer.status_code, answer.json()["code"]) == (503, "C008")
        assert int(answer.headers["Retry-After"]) > 0

    stage.start("catalog")
    stage.healthy("catalog")
    eventually(lambda: customer.order(productId=8, quantity=1).status_code == 202)


def test_a_second_replica_takes_over(customer: Customer, stage: Stage):
    address = "127.83.0.100"
    stage.start("orders", container="orders-2", address=address)
    eventually(lambda: stage.is_healthy(address))
    stage.names.addresses["orders"].append(address)
    stage.processes["orders"].kill()  # and its address stays known: nobody has told the gateway
    eventually(lambda: customer.order(productId=8, quantity=1).status_code == 202)  # it has looked up the name again

    for _ in range(10):
        assert customer.order(productId=8, quantity=1).status_code == 202


# --- Users of the broker ---------------------------------------------------------------------------------------------
def test_a_service_that_was_taken_over_sends_nothing_in_anothers_name(
    customer: Customer, stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    """Orders may write to delivery's queue, and says there that somebody's payment has come."""
    monkeypatch.setattr(settings, "SAGAS", replace(settings.SAGAS, declares=False))
    refused = customer.order(productId=2, quantity=1, paymentToken="tok_declined").json()["id"]
    eventually(lambda: customer.status(refused) == "CANCELLED")
    checkout = Checkout(
        user_id=1, amount=1, currency="KRW", payment_gateway="x", payment_token="", lines=(), address=""
    )
    monkeypatch.setattr(current_app.conf, "broker_write_url", stage.environment("orders")["BROKER_URL"])
    broker.disconnect()
    publish([PaymentCompleted(order_id=refused, checkout=checkout)], {PaymentCompleted: ["delivery.start_delivery"]})
    broker.disconnect()

    def is_seen() -> bool:
        letters = stage.run("shop", "python", "manage.py", "deadletters", "list", "--json")
        assert f"PaymentCompleted from {stage.prefix}orders" in letters.stdout, letters.stderr
        return True

    eventually(is_seen)
    assert customer.read(f"deliveries?orderId={refused}")["results"] == []
    (letter,) = json.loads(stage.run("shop", "python", "manage.py", "deadletters", "list", "--json").stdout)
    discard = ["discard", letter["service"], str(letter["id"]), "--reason", "forged"]
    assert stage.run("shop", "python", "manage.py", "deadletters", *discard).returncode == 0


# --- Seven databases, seven roles -----------------------------------------------------------------------------------
def test_the_role_that_watches_sees_sessions_and_no_data(stage: Stage):
    url = f"postgresql://{stage.prefix}monitor:{stage.variables['MONITOR_PASSWORD']}@{stage.server}"
    with psycopg2.connect(f"{url}/postgres") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE query = '<insufficient privilege>'")
        assert cursor.fetchone() == (0,)
    connection.close()
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        psycopg2.connect(f"{url}/{stage.prefix}orders")


@pytest.mark.parametrize("service", settings.SERVICES)
def test_a_role_reads_its_own_database_and_no_other(stage: Stage, service: str):
    url = stage.environment(service)[f"{service.upper()}_DATABASE_URL"]
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_migrations WHERE app = %s", [service])
        assert cursor.fetchone()[0] > 0
        cursor.execute("SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (False,)
        cursor.execute(
            "SELECT count(*) FROM pg_auth_members JOIN pg_roles ON oid = member WHERE rolname = current_user"
        )
        assert cursor.fetchone() == (0,)
        cursor.execute("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (40,)  # seven times that is less than the 300 of docker-compose.yml
    connection.close()
    for other in set(settings.SERVICES) - {service}:
        with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
            psycopg2.connect(url, dbname=f"{stage.prefix}{other}")


def test_only_the_back_office_is_told_of_all_databases(stage: Stage):
    known = {
        name: [key for key in stage.environment(name) if key.endswith("_DATABASE_URL")] for name in stage.processes
        if name != "orders-2"
    }  # fmt: skip
    for name, databases in known.items():
        service = name.removesuffix("-worker").removesuffix("-relay")
        wanted = {"shop": len(settings.SERVICES), "beat": 0, "flower": 0}.get(service, 1)
        assert len(databases) == wanted
        if wanted == 1:
            assert databases == [f"{service.upper()}_DATABASE_URL"]


# --- At the end -----------------------------------------------------------------------------------------------------
def test_every_order_is_closed_and_everything_adds_up(stage: Stage):
    """Orders asks the other services over HTTP whether a message is missing; the back office sees all databases."""
    with psycopg2.connect(stage.environment("orders")["ORDERS_DATABASE_URL"]) as orders, orders.cursor() as cursor:
        orders.autocommit = True

        def closed() -> bool:
            cursor.execute("SELECT count(*), count(look_at) FROM orders_order")
            count, still_open = cursor.fetchone()
            assert count > 12
            return still_open == 0

        eventually(closed)
    orders.close()
    audit = stage.run("shop", "python", "manage.py", "audit", "--strict")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert [name for name, process in stage.processes.items() if not process.runs] == ["orders"]

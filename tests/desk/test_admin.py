"""The admin as shop staff use it: catalogue, stock, orders, dead letters; rights by role; a log of all changes."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any
from unicodedata import normalize
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.test import Client, RequestFactory
from django.utils import timezone

from accounts.models import User
from accounts.services import make_groups
from catalog.models import Product
from catalog.services import change_product, create_product
from delivery.models import Delivery
from inventory.models import DeadLetter, StockItem, StockMovement
from inventory.models import StaffAction as InventoryAction
from inventory.services import adjust_stock, first_location, seed_stock, set_low_below
from orders.models import Order, ParcelNumber, Return
from orders.models import StaffAction as OrderAction
from orders.returns.requests import Wanted, request_return
from payments.models import GatewayLedger, Payment, Reconciliation, SandboxSwitch
from sagas import Unavailable, dead_letters
from sagas.events import encode
from sagas.registry import STEPS, local_services
from shop.api.rights import GROUPS
from shop.calls import substituting
from shop.contracts.catalog import CatalogService
from shop.contracts.events import Line, OrderCreated
from shop.contracts.inventory import InventoryService
from shop.text import mailbox
from tests.conftest import SERVICES
from tests.support.fakes import Caller
from tests.support.ordering import place_order

CLERKS = ("catalogue clerks", "stock clerks", "order clerks", "payment clerks")
pytestmark = pytest.mark.django_db(databases=SERVICES)
PRODUCTS, STOCK, ORDERS = "/admin/catalog/product/", "/admin/inventory/stockitem/", "/admin/orders/order/"


@pytest.fixture
def staff() -> Client:
    """A clerk of catalogue, stock and orders."""
    return signed_in(group=True)


@pytest.fixture
def boss() -> Client:
    return signed_in(is_superuser=True)


def signed_in(*, group: bool = False, **fields: Any) -> Client:
    user = User.objects.create(
        pk=1000 + len(fields), email=f"{len(fields)}@example.com", name="Staff", is_staff=True, **fields
    )
    if group:
        make_groups()
        user.groups.set(Group.objects.filter(name__in=CLERKS))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def goods() -> None:
    Product.objects.bulk_create(
        Product(pk=pk, name=f"Thing {pk}", price=1000 * pk, category="BOOK", brand="A" if pk % 2 else "B")
        for pk in range(1, 6)
    )
    seed_stock({1: 100, 2: 9, 4: 10})
    StockItem.objects.create(product_id=3, location_id="MAIN")


def opened(client: Client, path: str, **changed: Any) -> dict[str, Any]:
    """What a browser sends from a form that it has opened: all its fields, with some changed."""
    form = client.get(path).context["adminform"].form
    fields = {name: form[name].value() for name in form.fields}
    sent = {name: value for name, value in fields.items() if value not in (None, False)}
    return {name: value for name, value in (sent | changed).items() if value is not None}


def text(client: Client, path: str) -> str:
    """The text of a page."""
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def rows(client: Client, path: str) -> list[str]:
    """What the links in a list's first column say."""
    answer = client.get(path)
    assert answer.status_code == 200, path
    return re.findall(r'<th class="field-\w+"><a[^>]*>([^<]+)</a>', answer.content.decode())


def act(client: Client, path: str, action: str, *chosen: int, **more: str) -> str:
    """Run an action on chosen rows; the page that follows."""
    form = {"action": action, "_selected_action": list(chosen)} | more
    return client.post(path, form, follow=True).content.decode()


def log() -> list[tuple[str, str]]:
    """What was changed, and how, newest last."""
    return [(one.object_repr, one.get_change_message()) for one in LogEntry.objects.order_by("pk")]


# --- Catalogue -------------------------------------------------------------------------------------------------------
def test_products_with_their_stock_in_one_question(staff: Client, goods: None, django_assert_num_queries: Any):
    StockItem.objects.filter(product_id=1).update(reserved=30)
    with django_assert_num_queries(1, using="inventory"):
        page = text(staff, PRODUCTS)
    assert "₩1,000" in page
    assert "70 of 100" in page
    assert "0 of 0" in page
    assert rows(staff, f"{PRODUCTS}?q=thing+3") == ["3"]
    assert rows(staff, f"{PRODUCTS}?brand=B") == ["2", "4"]
    assert rows(staff, f"{PRODUCTS}?category__exact=TOY") == []


def test_without_inventory_the_products_are_shown(staff: Client, goods: None):
    class Away:
        def get_stock(self, product_ids: Any) -> Any:
            raise Unavailable("inventory")

    with substituting(InventoryService, Away()):
        page = text(staff, PRODUCTS)
    assert "Inventory is away: no stock is shown." in page
    assert "Thing 5" in page


def test_taking_off_sale_and_putting_on_sale_again(staff: Client, goods: None):
    Product.objects.filter(pk=2).update(active=False)
    assert "Taken off sale: 1." in act(staff, PRODUCTS, "deactivate", 1, 2)
    assert list(Product.objects.filter(active=False).values_list("pk", "version").order_by("pk")) == [(1, 2), (2, 1)]
    assert "Put on sale: 2." in act(staff, PRODUCTS, "activate", 1, 2, 3)
    assert Product.objects.filter(active=True).count() == 5
    assert log() == [("Thing 1", "Taken off sale."), ("Thing 1", "Put on sale."), ("Thing 2", "Put on sale.")]


def test_a_new_price_is_logged_with_the_old_one(staff: Client, goods: None):
    form = opened(staff, f"{PRODUCTS}1/change/", price="1200")
    assert staff.post(f"{PRODUCTS}1/change/", form).status_code == 302
    product = Product.objects.get(pk=1)
    assert (product.price, product.version) == (1200, 2)
    assert log() == [("Thing 1", "price: 1000 → 1200")]
    assert "price: 1000 → 1200" in text(staff, f"{PRODUCTS}1/history/")

    form = opened(staff, f"{PRODUCTS}1/change/", price="0")
    assert "greater than or equal to 1" in staff.post(f"{PRODUCTS}1/change/", form).content.decode()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"currency": "USD"}, (100_000, "USD")),  # 1000 on the form are dollars now
        ({"currency": "USD", "price": "19.99"}, (1999, "USD")),
        ({"price": "1000.0"}, (1000, "KRW")),
        ({"price": "19.99"}, (1000, "KRW")),  # refused: a won has no parts
        ({"price": "1e400"}, (1000, "KRW")),
        ({"price": "9007199254740993"}, (1000, "KRW")),
    ],
)
def test_a_price_is_written_as_on_its_tag(staff: Client, goods: None, given: dict[str, str], expected: tuple[int, str]):
    staff.post(f"{PRODUCTS}1/change/", opened(staff, f"{PRODUCTS}1/change/", **given))
    product = Product.objects.get(pk=1)
    assert (product.price, product.currency) == expected
    Product.objects.filter(pk=1).update(price=1999, currency="USD")
    assert opened(staff, f"{PRODUCTS}1/change/")["price"] == Decimal("19.99")


@pytest.mark.parametrize("meanwhile", [{"price": 2000}, {"active": False}])
def test_a_stale_form_is_refused(staff: Client, goods: None, meanwhile: dict[str, Any]):
    path = f"{PRODUCTS}1/change/"
    stale = opened(staff, path, name="Another name")
    change_product(1, meanwhile)
    answer = staff.post(path, stale)
    assert answer.status_code == 200
    assert "changed after you opened this form" in answer.content.decode()
    assert Product.objects.values(*meanwhile, "name").get(pk=1) == meanwhile | {"name": "Thing 1"}
    assert staff.post(path, opened(staff, path, name="Another name")).status_code == 302
    assert Product.objects.values(*meanwhile, "name").get(pk=1) == meanwhile | {"name": "Another name"}


def test_a_form_that_does_not_say_what_it_saw_is_refused(staff: Client, goods: None):
    path = f"{PRODUCTS}1/change/"
    for seen in (None, "", "[]", "3", '{"price": 7}'):
        assert staff.post(path, opened(staff, path, name="x", seen=seen)).status_code == 200
    assert Product.objects.get(pk=1).name == "Thing 1"


def test_users_groups_and_switches_are_not_saved_from_stale_forms_either(boss: Client):
    user = User.objects.create(email="kim@example.com", name="Kim")
    group, permission = Group.objects.create(name="clerks"), Permission.objects.first()
    switch = SandboxSwitch.objects.create(gateway="KAKAO_PAY", away=False)
    stock = StockItem.objects.create(product_id=1, location_id=first_location(), on_hand=5)
    paths = {
        f"/admin/accounts/user/{user.pk}/change/": {"name": "Kim Hana"},
        f"/admin/auth/group/{group.pk}/change/": {"name": "buyers"},
        f"/admin/payments/sandboxswitch/{switch.pk}/change/": {},
        f"/admin/inventory/stockitem/{stock.pk}/change/": {"low_below": "7"},
    }
    stale = {path: opened(boss, path, **changed) for path, changed in paths.items()}
    User.objects.filter(pk=user.pk).update(is_active=False)
    group.permissions.add(permission)
    SandboxSwitch.objects.update(away=True)
    StockItem.objects.update(low_below=3)
    for path, form in stale.items():
        assert "changed after you opened this form" in boss.post(path, form).content.decode(), path
    user.refresh_from_db()
    assert (user.name, user.is_active, list(group.permissions.all())) == ("Kim", False, [permission])
    assert SandboxSwitch.objects.get().away
    assert StockItem.objects.get().low_below == 3
    path = f"/admin/accounts/user/{user.pk}/change/"
    assert boss.post(path, opened(boss, path, name="Kim Hana")).status_code == 302
    user.refresh_from_db()
    assert (user.name, user.is_active) == ("Kim Hana", False)


def test_a_new_product_with_its_first_stock(staff: Client):
    page = staff.get(f"{PRODUCTS}add/")
    assert "DatabaseDefault" not in page.content.decode()
    form = opened(staff, f"{PRODUCTS}add/", name="New", price="19.99", currency="USD", opening_stock="25")
    assert staff.post(f"{PRODUCTS}add/", form).status_code == 302
    product = Product.objects.get(name="New")
    assert (product.price, product.currency) == (1999, "USD")
    assert StockItem.objects.get(product_id=product.pk).on_hand == 25
    assert StockMovement.objects.get(product_id=product.pk).reason == "Opening stock"
    page = text(staff, f"{PRODUCTS}{product.pk}/change/")
    assert "25 of 25" in page
    assert staff.post(f"{PRODUCTS}add/", form).status_code == 302  # Back, and Save again
    assert (Product.objects.count(), StockItem.objects.get().on_hand) == (1, 25)


def test_a_product_without_stock_leads_to_its_first_booking(staff: Client):
    product = create_product(name="New", price=1, image_url="https://example.com/a.png")
    page = staff.get(f"{PRODUCTS}{product.pk}/change/").content.decode()
    (link,) = re.findall(r'href="([^"]*/stockitem/add/[^"]*)"', page)
    assert f'value="{product.pk}"' in staff.get(unescape(link)).content.decode()
    assert re.search(r'<img class="preview" src="https://example.com/a.png"', page)


def test_a_currency_is_one_that_exists(staff: Client, goods: None):
    form = opened(staff, f"{PRODUCTS}add/", name="New", price="1", currency="ZZZ")
    assert "ZZZ is not one of the available choices" in unescape(staff.post(f"{PRODUCTS}add/", form).content.decode())


@pytest.mark.parametrize(
    ("currency", "shown"), [("KRW", "₩1,999"), ("USD", "19.99 USD"), ("JPY", "1,999 JPY"), ("KWD", "1.999 KWD")]
)
def test_money_is_shown_by_its_currency(boss: Client, goods: None, currency: str, shown: str):
    Product.objects.filter(pk=1).update(price=1999, currency=currency)
    order = place_order(user_id=1, lines=[Line(1, 1)])
    paid = {"amount": 1999, "currency": currency, "gateway": "KAKAO_PAY"}
    payment = Payment.objects.create(
        order_id=order.pk,
        user_id=1,
        idempotency_key="k",
        status="COMPLETED",
        authorized=1999,
        captured=1999,
        refunded=1999,
        **paid,
    )
    booked = GatewayLedger.objects.create(payment="k", key="k", kind="CHARGE", **paid)
    run = Reconciliation.objects.create(gateway="KAKAO_PAY", day=date(2026, 3, 14), missing_there=1)
    difference = run.differences.create(
        kind="MISSING_THERE", movement="CAPTURE", reference="k", ours=1999, currency=currency, at=timezone.now()
    )
    for path in (
        PRODUCTS, ORDERS, f"{ORDERS}{order.pk}/change/", f"/console/orders/{order.pk}",
        "/admin/payments/payment/", f"/admin/payments/payment/{payment.pk}/change/",
        "/admin/payments/gatewayledger/", f"/admin/payments/gatewayledger/{booked.pk}/change/",
        "/admin/payments/reconciliationdifference/",
        f"/admin/payments/reconciliationdifference/{difference.pk}/change/",
    ):  # fmt: skip
        assert shown in text(boss, path), path
    page = text(boss, f"/admin/payments/payment/{payment.pk}/change/")
    assert (page.count(shown), "1999" in page) == (4, False)  # its amount; authorized, captured, given back
    assert "KAKAO_PAY" in text(boss, "/admin/payments/reconciliation/")
    assert boss.post(f"/admin/payments/reconciliation/{run.pk}/delete/", {"post": "yes"}).status_code == 403


def stock_of(product_id: int) -> str:
    """The page of a product's only stock record."""
    return f"{STOCK}{StockItem.objects.get(product_id=product_id).pk}/change/"


# --- Stock -----------------------------------------------------------------------------------------------------------
def test_stock_by_what_can_be_sold(staff: Client, goods: None, django_assert_num_queries: Any):
    StockItem.objects.filter(product_id=4).update(reserved=1)
    with django_assert_num_queries(1, using="catalog"):
        page = text(staff, STOCK)
    assert "Thing 1" in page
    assert rows(staff, f"{STOCK}?stock=low") == ["2", "3", "4"]
    assert rows(staff, f"{STOCK}?stock=none") == ["3"]
    assert rows(staff, f"{STOCK}?stock=enough") == ["1"]
    assert rows(staff, f"{STOCK}?o=3") == ["3", "2", "4", "1"]


def test_without_the_catalogue_stock_is_shown_by_number(staff: Client, goods: None):
    class Away:
        def get_products(self, product_ids: Any) -> Any:
            raise Unavailable("catalog")

    with substituting(CatalogService, Away()):
        assert "The catalogue is away" in text(staff, STOCK)


def test_stock_is_booked_with_a_reason_and_leaves_a_movement(staff: Client, goods: None):
    path = stock_of(1)
    assert staff.post(path, opened(staff, path, delta="-3", reason="broken")).status_code == 302
    assert staff.post(path, opened(staff, path, delta="5", reason="")).status_code == 200
    assert staff.post(path, opened(staff, path, delta="-98", reason="too many")).status_code == 200
    assert staff.post(path, opened(staff, path, delta="1000000000", reason="too many")).status_code == 200
    assert staff.post(path, opened(staff, path)).status_code == 200

    assert StockItem.objects.get(product_id=1).on_hand == 97
    assert list(StockMovement.objects.filter(product_id=1).values_list("delta", "reason").order_by("pk")) == [
        (100, "Opening stock"),
        (-3, "broken"),
    ]
    assert [message for _, message in log()] == ["Booked -3: broken"]
    assert "-3 Adjustment broken" in text(staff, path)


def test_the_same_form_books_once(staff: Client, goods: None):
    path = stock_of(1)
    form = opened(staff, path, delta="5", reason="delivery note 4711")
    assert staff.post(path, form).status_code == 302
    assert "This booking was made already." in staff.post(path, form, follow=True).content.decode()
    assert StockItem.objects.get(product_id=1).on_hand == 105
    assert StockMovement.objects.filter(product_id=1).count() == 2
    assert len(log()) == 1


def test_when_stock_is_low_is_said_by_product(staff: Client, goods: None):
    path = stock_of(1)
    assert staff.post(path, opened(staff, path, low_below="200")).status_code == 302
    assert rows(staff, f"{STOCK}?stock=low") == ["1", "2", "3"]
    assert log() == [("product 1 at MAIN: 100 on hand, 0 reserved", "Low below 200.")]
    assert StockMovement.objects.filter(product_id=1).count() == 1
    Product.objects.filter(pk=2).update(active=False)  # nobody needs more of it
    assert rows(staff, f"{STOCK}?stock=low") == ["1", "3"]


def test_a_stock_record_begins_with_a_booking(staff: Client, goods: None):
    form = opened(staff, f"{STOCK}add/", product_id="4711", low_below="3")
    page = staff.post(f"{STOCK}add/", form)
    assert page.context["adminform"].form.errors == {"delta": ["Say how many pieces came or went."]}
    set_low_below(4711, "MAIN", 3)  # as if the record had gone meanwhile
    assert not StockItem.objects.filter(product_id=4711).exists()
    assert not InventoryAction.objects.filter(action="low below").exists()


def test_a_product_leads_to_its_stock_wherever_it_is(staff: Client, goods: None):
    assert staff.get(f"{STOCK}?product_id=1").url == stock_of(1)
    seed_stock({1: 7}, "EAST")
    assert rows(staff, f"{STOCK}?product_id=1") == ["1", "1"]
    assert "1 Thing 1 EAST 7 of 7 0 10" in text(staff, f"{STOCK}?product_id=1")
    assert rows(staff, f"{STOCK}?location__code__exact=EAST") == ["1"]


def test_stock_is_booked_at_another_location(staff: Client, goods: None):
    form = opened(staff, "/admin/inventory/location/add/", code="EAST", name="The east", priority="5")
    assert staff.post("/admin/inventory/location/add/", form).status_code == 302
    form = opened(staff, f"{STOCK}add/?product_id=1", location="EAST", delta="7", reason="moved")
    assert staff.post(f"{STOCK}add/", form).status_code == 302
    assert "already" in staff.post(f"{STOCK}add/", {**form, "booking": str(uuid4())}).content.decode()

    items = StockItem.objects.filter(product_id=1).order_by("pk").values_list("location_id", "on_hand")
    assert list(items) == [("MAIN", 100), ("EAST", 7)]
    assert StockMovement.objects.latest("pk").location_id == "EAST"


def test_korean_is_found_in_whichever_form_it_is_typed(staff: Client, goods: None):
    Product.objects.filter(pk=2).update(name="클린 코드")
    for form in ("NFC", "NFD"):
        typed = quote(normalize(form, " 클린"))
        assert rows(staff, f"{PRODUCTS}?q={typed}") == rows(staff, f"{STOCK}?q={typed}") == ["2"]


def test_stock_is_found_by_the_name_of_its_product(staff: Client, goods: None):
    assert rows(staff, f"{STOCK}?q=thing+2") == ["2"]
    assert rows(staff, f"{STOCK}?q=4") == ["4"]
    assert rows(staff, f"{STOCK}?q=nothing") == []


def test_the_movements_of_a_product(staff: Client, goods: None):
    for number in range(25):
        adjust_stock(product_id=1, delta=1, reason=f"receipt {number}")
    page = staff.get(stock_of(1)).content.decode()
    assert page.count("receipt ") == 20
    every = "/admin/inventory/stockmovement/?product_id=1"
    assert f'href="{every}"' in page
    assert "26 stock movements" in text(staff, every)
    assert "1 stock movement " in text(staff, "/admin/inventory/stockmovement/?q=receipt+24")


# --- Orders ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def orders(bus: Any, no_waiting: None) -> Any:
    """Three orders, of which the first is completed; and the bus."""
    seed_stock({7: 10})
    done = place_order(user_id=1, lines=[Line(7, 1)])
    bus.drain()
    return [done, *(place_order(user_id=1, lines=[Line(7, 1)]) for _ in range(2))], bus


def test_orders_by_status_progress_and_age(staff: Client, orders: Any, settings: Any):
    settings.STALLED_AFTER = 30
    done, stalled, new = (str(order.pk) for order in orders[0])
    now = timezone.now()
    Order.objects.filter(pk=stalled).update(progress_at=now - timedelta(seconds=90), created_at=now - timedelta(days=8))

    assert rows(staff, ORDERS) == [new, stalled, done]
    assert rows(staff, f"{ORDERS}?status__exact=COMPLETED") == [done]
    assert rows(staff, f"{ORDERS}?progress=open") == [new, stalled]
    assert rows(staff, f"{ORDERS}?progress=stalled") == [stalled]
    assert rows(staff, f"{ORDERS}?progress=ended") == [done]
    assert rows(staff, f"{ORDERS}?age=1h") == [new, done]
    assert rows(staff, f"{ORDERS}?age=older") == [stalled]
    page = text(staff, ORDERS)
    assert re.search(r"stalled: 9\d s", page)
    assert "1 week" in page


def test_an_order_leads_to_its_saga_and_can_be_acted_on(staff: Client, orders: Any):
    order = orders[0][2]
    page = staff.get(f"{ORDERS}{order.pk}/change/").content.decode()
    for action in ("", "/resume", "/cancel"):
        assert f'"/console/orders/{order.pk}{action}"' in page
    done = orders[0][0].pk
    page_of_done = staff.get(f"{ORDERS}{done}/change/").content.decode()
    for action in ("cancel", "resume"):
        assert f'"/console/orders/{done}/{action}"' not in page_of_done
    assert "Product 7" in page
    assert f'href="/console/orders/{order.pk}"' in staff.get(ORDERS).content.decode()


def test_cancelling_and_resuming_are_logged(staff: Client, orders: Any):
    (done, other, new), bus = orders
    page = act(staff, ORDERS, "cancel", done.pk, new.pk)
    assert "Cancel these orders?" in page
    assert Order.objects.get(pk=new.pk).status == "PENDING"
    page = act(staff, ORDERS, "cancel", done.pk, new.pk, confirmed="1", why="ordered twice")
    assert "Cancellations asked for: 1." in page
    assert f"Order {done.pk} is completed." in page
    page = act(staff, ORDERS, "resume", other.pk)
    assert "Emitted again: 1." in page
    bus.drain()

    assert [Order.objects.get(pk=one.pk).status for one in (done, other, new)] == [
        "COMPLETED",
        "COMPLETED",
        "CANCELLED",
    ]
    assert Order.objects.get(pk=new.pk).cancellation_reason == "cancelled by the shop's staff"
    assert [message for _, message in log()] == ["Cancellation asked for: ordered twice", "Emitted again."]


def test_pieces_are_cancelled_on_the_orders_page_and_why_is_logged(staff: Client, bus: Any, no_waiting: None):
    seed_stock({7: 10})
    order_id = place_order(user_id=1, lines=[Line(7, 3)]).pk
    path = f"{ORDERS}{order_id}/change/"
    page = staff.get(path).content.decode()
    url = f"/console/orders/{order_id}/change"
    form, _ = re.findall(rf'<form method="post" action="{url}">.*?</form>', page, re.DOTALL)
    (key,) = re.findall(r'name="key" value="(\w+)"', form)
    sent = {"key": key, "pieces-7": "1", "why": ""}
    for useless in (sent, sent | {"why": "typo", "pieces-8": ""}):
        assert "Nothing was changed" in staff.post(url, useless, follow=True).content.decode()
    for _ in range(2):  # sent twice
        page = staff.post(url, sent | {"why": "typo"}, follow=True).content.decode()
        assert "Change asked for; delivery decides." in page
    assert url not in staff.get(path).content.decode()  # one is under way
    bus.drain()
    assert Order.objects.get(pk=order_id).lines[0].quantity == 1
    assert "-2 × Product 7" in text(staff, path)
    assert [message for _, message in log()] == ["Change asked for: typo"]


def test_the_address_is_changed_on_the_orders_page_and_is_not_in_the_log(staff: Client, bus: Any, no_waiting: None):
    seed_stock({7: 10})
    order_id = place_order(user_id=1, lines=[Line(7, 3)]).pk
    path, url = f"{ORDERS}{order_id}/change/", f"/console/orders/{order_id}/change"
    page = staff.get(path).content.decode()
    _, form = re.findall(rf'<form method="post" action="{url}">.*?</form>', page, re.DOTALL)
    assert "Yes, send it there" in form
    (key,) = re.findall(r'name="key" value="(\w+)"', form)
    sent = {"key": key, "address": " 2 Low Street\r\n서울 ", "why": "has moved"}
    for useless in (sent | {"why": ""}, sent | {"address": " "}, sent | {"address": "x" * 501}):
        assert "Nothing was changed" in staff.post(url, useless, follow=True).content.decode()
    assert "Change asked for; delivery decides." in staff.post(url, sent, follow=True).content.decode()
    bus.drain()
    assert Delivery.objects.get().address == "2 Low Street\n서울"
    assert "another address" in text(staff, path)
    assert [message for _, message in log()] == ["Change asked for: has moved"]
    assert "Low Street" not in str(list(OrderAction.objects.values()))


@pytest.fixture
def customers() -> None:
    User.objects.create(pk=1, email="hana@example.com", name="김하나", phone="010-1234-5678")
    User.objects.create(pk=2, email="lee@example.com", name="Lee Dul")


def test_an_order_is_found_by_anything_one_knows(staff: Client, customers: None, orders: Any):
    User.objects.get(is_staff=True).groups.add(Group.objects.get(name="support"))  # who sees phone numbers
    done, *others = (str(order.pk) for order in orders[0])
    Order.objects.filter(pk__in=others).update(user_id=2)
    number = Delivery.objects.get(order_id=done).tracking_number
    known_of_hana = (
        "hana@example.com",
        "HANA@example",
        "김하나",
        normalize("NFD", " 김하나"),
        "010-1234-5678",
        "01012345678",
    )
    for known in (done, *known_of_hana, number, number.lower()):
        assert rows(staff, f"{ORDERS}?q={quote(known)}") == [done], known
    User.objects.filter(email="hana@example.com").update(email=mailbox("hana@한국.kr"))
    for written in ("hana@한국.kr", "HANA@xn--3e0b707e.kr"):
        assert rows(staff, f"{ORDERS}?q={quote(written)}") == [done], written
    assert rows(staff, f"{ORDERS}?q=lee+dul") == others[::-1]
    for unknown in ("99999999999999999999999", "-1", "abc", "'", "CJ9999999999"):
        assert rows(staff, f"{ORDERS}?q={unknown}") == [], unknown
    page = text(staff, ORDERS)
    assert "User 1 user1@example.com" in page
    assert "1 × Product 7" in page


@pytest.mark.parametrize("number", ["1Z999AA10123456784", "9400110200881234567890", "771234567890", "JD01460000628123"])
def test_an_order_is_found_by_a_number_of_any_carrier(staff: Client, orders: Any, number: str):
    done = orders[0][0].pk
    ParcelNumber.objects.create(order_id=done, number=number)  # which delivery has forgotten since
    for written in (number, number.lower()):
        assert rows(staff, f"{ORDERS}?q={written}") == [str(done)], written


def test_an_order_is_found_by_its_id_and_another_one_by_the_same_digits(staff: Client, orders: Any):
    done, other = orders[0][0].pk, orders[0][1].pk
    ParcelNumber.objects.create(order_id=other, number=str(done))
    assert rows(staff, f"{ORDERS}?q={done}") == [str(other), str(done)]


def test_numbers_are_found_by_their_index(boss: Client, orders: Any):
    """A search for a number compares no texts, whichever list it is."""
    request = RequestFactory().get("/")
    request.user = Caller(1, staff=True)  # type: ignore[assignment]
    searched = 0
    for model, one in admin.site._registry.items():
        numbers = [name for name in one.get_search_fields(request) if str(name).startswith("=")]
        if numbers and model._meta.app_label in SERVICES:
            found, _ = one.get_search_results(request, one.get_queryset(request), "7")
            assert not re.search(r'UPPER\("\w+"\."(id|\w+_id|key|tracking_number)"', str(found.query)), model
            searched += 1
    assert searched >= 28
    found, _ = admin.site.get_model_admin(Order).get_search_results(request, Order.objects.all(), "7")
    assert "Filter" not in found.explain()


def test_an_order_page_shows_what_all_services_keep_of_it(staff: Client, boss: Client, customers: None, orders: Any):
    done = orders[0][0].pk
    page = text(staff, f"{ORDERS}{done}/change/")
    for shown in (
        "User 1",
        "user1@example.com",
        "₩7,000",
        "Delivered",
        "Shipped",
        "TOSS_PAYMENTS",
    ):
        assert shown in page, shown
    assert "+821012345678" not in page  # which takes a right of its own
    assert "+821012345678" in text(boss, f"{ORDERS}{done}/change/")


def test_what_a_carrier_says_against_the_end_is_settled_with_a_reason(boss: Client, orders: Any):
    path = "/admin/delivery/delivery/"
    delivery = Delivery.objects.get()
    Delivery.objects.update(status="CANCELLED", due_at=None, disputed_by="DELIVERED")
    assert rows(boss, f"{path}?disputed=1") == [str(delivery.order_id)]
    assert "the carrier says Delivered" in text(boss, f"{ORDERS}{delivery.order_id}/change/")
    assert "Nothing was settled" in act(boss, path, "settle", delivery.pk)
    assert "Settled: 1." in act(boss, path, "settle", delivery.pk, reason="customer pays")
    assert rows(boss, f"{path}?disputed=1") == []
    assert log()[-1][1] == "Settled (DELIVERED): customer pays"


def test_ids_that_are_none_are_ignored(boss: Client, goods: None, orders: Any):
    for path, action in (
        (ORDERS, "cancel"), (PRODUCTS, "deactivate"), ("/admin/notifications/notification/", "send_again"),
        ("/admin/inventory/deadletter/", "replay"), ("/admin/auth/group/", "delete_selected"),
        ("/admin/payments/sandboxswitch/", "delete_selected"),
    ):  # fmt: skip
        for bad in ("abc", "", "9" * 30, "1.5", "\0", "-1"):
            answer = boss.post(path, {"action": action, "_selected_action": bad, "index": "0"}, follow=True)
            assert answer.status_code == 200, (path, bad)
    assert (
        "Taken off sale: 1."
        in boss.post(PRODUCTS, {"action": "deactivate", "_selected_action": ["abc", "1"]}, follow=True).content.decode()
    )


def test_reasons_and_statuses_in_korean(staff: Client, orders: Any):
    order = orders[0][2]
    Order.objects.filter(pk=order.pk).update(
        status="CANCELLED", cancellation_reason="I002: insufficient stock of product 7"
    )
    staff.cookies["lang"] = "ko"
    page = text(staff, ORDERS)
    assert "상품 7의 재고 부족" in page
    assert "취소됨" in page
    assert "판매 중" in text(staff, PRODUCTS)


def test_times_are_those_of_the_shops_zone(staff: Client, orders: Any, settings: Any):
    order = orders[0][2]
    Order.objects.filter(pk=order.pk).update(created_at=datetime(2026, 11, 23, 16, 30, 5, tzinfo=UTC))
    path = f"{ORDERS}{order.pk}/change/"
    assert "2026-11-23 16:30:05 UTC" in text(staff, path)
    settings.TIME_ZONE = "Asia/Seoul"
    assert "2026-11-24 01:30:05 KST" in text(staff, path)
    settings.DEBUG = True
    assert "2026-11-24 01:30:05 KST" in text(staff, f"/console/orders/{order.pk}")


# --- Dead letters ----------------------------------------------------------------------------------------------------
def test_dead_letters_of_every_service(boss: Client):
    for service in local_services():
        assert "0 dead letters" in text(boss, f"/admin/{service}/deadletter/")


def test_replaying_and_discarding_with_a_reason(boss: Client, bus: Any):
    path, step = "/admin/inventory/deadletter/", STEPS["inventory.reserve_stock"]
    for order_id in (1, 2):
        event = encode(OrderCreated(order_id=order_id, checkout=None))
        dead_letters.record(step.service, step.name, event, ValueError(f"{'no' * 100}\nand more"))
    first, second = DeadLetter.objects.order_by("pk")

    page = boss.get(f"{path}{first.pk}/change/").content.decode()
    assert f'name="_selected_action" value="{first.pk}"' in page
    assert 'href="/console/orders/1"' in page
    assert "Sent to their steps again: 1." in act(boss, path, "replay", first.pk)
    assert [step for step, _ in bus.messages] == ["inventory.reserve_stock"]
    assert "Nothing was discarded: say why" in act(boss, path, "discard", second.pk)
    assert "Discarded: 1." in act(boss, path, "discard", second.pk, reason="a test order")
    assert "Discarded: 0." in act(boss, path, "discard", second.pk, reason="again")

    second.refresh_from_db()
    assert (second.resolution, second.error.endswith("Discarded: a test order")) == ("DISCARDED", True)
    assert [message for _, message in log()] == ["Replayed.", "Discarded."]  # the reason goes with the letter
    assert "_selected_action" not in boss.get(f"{path}{second.pk}/change/").content.decode()
    assert rows(boss, f"{path}?open=1") == [str(first.pk)]
    assert rows(boss, f"{path}?open=0") == [str(second.pk)]
    assert "and more" not in text(boss, path)


def test_a_letter_that_cannot_be_replayed_stops_no_other(boss: Client, bus: Any, monkeypatch: pytest.MonkeyPatch):
    path, step = "/admin/inventory/deadletter/", STEPS["inventory.reserve_stock"]
    good = [encode(OrderCreated(order_id=order_id, checkout=None)) for order_id in (1, 2, 3)]
    letters = [
        (step.name, good[0], "?"),
        ("inventory.burn_stock", {"type": "?"}, "?"),
        (dead_letters.RELAY, {"type": "?"}, "?"),
        (step.name, good[1], "Impostor: OrderCreated from thief"),
        (step.name, good[2], "?"),
    ]
    for letter in letters:
        dead_letters.record(step.service, *letter)
    every = list(DeadLetter.objects.values_list("pk", flat=True))

    page = act(boss, path, "replay", *every)

    assert "Sent to their steps again: 2." in page
    assert "Cannot be replayed: 3. " in page
    assert sorted(raw["order_id"] for _, payload in bus.messages for raw in payload) == [1, 3]
    assert [message for _, message in log()] == ["Replayed."] * 2

    bus.messages.clear()

    def away_after_one(*message: Any) -> None:
        if bus.messages:
            raise ConnectionResetError("nobody there")
        bus.messages.append(message)

    monkeypatch.setattr(bus, "send", away_after_one)
    page = act(boss, path, "replay", *every)
    assert "The broker is away: nobody there" in page
    assert "Sent to their steps again: 1." in page


# --- Rights ----------------------------------------------------------------------------------------------------------
def test_clerks_see_nothing_of_groups_and_letters(staff: Client, orders: Any):
    assert [app["app_label"] for app in staff.get("/admin/").context["app_list"]] == [
        "orders", "catalog", "inventory", "payments", "delivery", "notifications", "accounts",
    ]  # fmt: skip
    for name in ("payment", "reconciliation", "reconciliationdifference"):
        assert staff.get(f"/admin/payments/{name}/").status_code == 200
    for path in (
        "payments/sandboxswitch/",
        "auth/group/",
        "orders/deadletter/",
    ):
        assert staff.get(f"/admin/{path}").status_code == 403
    assert staff.get("/admin/admin/logentry/").status_code == 403


def test_without_the_group_staff_change_nothing(goods: None, orders: Any):
    client = signed_in()
    for path in (PRODUCTS, STOCK, ORDERS):
        assert client.get(path).status_code == 403
    act(client, ORDERS, "cancel", orders[0][2].pk)
    assert Order.objects.get(pk=orders[0][2].pk).status == "PENDING"


def test_a_group_is_made_once_and_what_was_changed_about_it_stays():
    make_groups()
    group = Group.objects.get(name="support")
    before = group.permissions.count()
    assert before == len(GROUPS["support"])
    group.permissions.remove(group.permissions.get(codename="change_order"))
    make_groups()
    assert group.permissions.count() == before - 1


def test_the_log_is_for_the_boss_to_read_only(boss: Client, staff: Client, goods: None):
    act(staff, PRODUCTS, "deactivate", 1)
    page = text(boss, "/admin/admin/logentry/")
    assert "Taken off sale." in page
    assert "0@example.com" in page
    entry = LogEntry.objects.get()
    assert boss.get(f"/admin/admin/logentry/{entry.pk}/change/").status_code == 200
    assert boss.post(f"/admin/admin/logentry/{entry.pk}/change/", {"object_repr": "x"}).status_code == 403
    assert boss.get("/admin/admin/logentry/add/").status_code == 403


def test_nobody_learns_by_a_link_to_a_row_whether_there_is_one(boss: Client):
    kinds = ContentType.objects.values_list("pk", flat=True)
    assert {boss.get(f"/admin/r/{kind}/1/").status_code for kind in kinds} == {404}
    shown = {boss.get(f"/admin/r/{kind}/{row}/").content for kind in kinds[:5] for row in (1, 1000)}
    assert not any(b"Content type" in page or b"get_absolute_url" in page for page in shown)


# --- Returns --------------------------------------------------------------------------------------------------------
RETURNS = "/admin/orders/return/"


def test_staff_decide_about_returns_each_time_after_a_question(staff: Client, orders: Any):
    (done, other, _new), bus = orders
    bus.drain()
    first, second = (request_return(one.pk, Wanted(lines=[Line(7, 1)])) for one in (done, other))
    assert "Refuse these returns?" in act(staff, RETURNS, "refuse", first.pk, confirmed="1")  # not without a reason
    assert "Decided: 1." in act(staff, RETURNS, "refuse", first.pk, confirmed="1", why="worn")
    assert "Approve these returns?" in act(staff, RETURNS, "approve", second.pk)
    assert Return.objects.get(pk=second.pk).status == "REQUESTED"
    assert "Decided: 1." in act(staff, RETURNS, "approve", second.pk, confirmed="1")
    assert f"Return {second.pk} is approved." in act(staff, RETURNS, "approve", second.pk, confirmed="1")
    bus.drain(timers=False)
    assert "Decided: 1." in act(staff, RETURNS, "receive", second.pk, confirmed="1")
    assert "Select one return" in act(staff, RETURNS, "inspect", first.pk, second.pk)
    assert "1 × Product 7" in act(staff, RETURNS, "inspect", second.pk)
    found = {"product-7-accepted": "1", "product-7-written_off": "0", "product-7-rejected": "0"}
    too_many = found | {"product-7-rejected": "1"}
    assert "Pieces to be inspected: 1." in act(staff, RETURNS, "inspect", second.pk, confirmed="1", **too_many)
    assert "stock and money follow" in act(staff, RETURNS, "inspect", second.pk, confirmed="1", **found)
    bus.drain()
    page = staff.get(f"{RETURNS}{second.pk}/change/").content.decode()
    assert "Completed" in page
    assert list(Return.objects.order_by("pk").values_list("status", "refusal")) == [
        ("REFUSED", "worn"),
        ("COMPLETED", ""),
    ]

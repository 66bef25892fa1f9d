"""What staff do on the page of one order, or of one row: each with a question, and only what can be done now."""

import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.models import User
from accounts.services import make_groups, seed_users
from commands.management.commands import seed
from commands.samples import USERS
from inventory.services import seed_stock
from notifications.models import Notification
from notifications.webhooks.models import Webhook
from orders.changes.requests import request_change
from orders.models import Order, OrderNote, Refund, Return, StaffAction
from orders.returns.requests import NotDelivered, Wanted, request_return
from payments.models import GatewayLedger, Payment
from sagas import Unavailable
from sagas.testing import Bus
from shop.calls import substituting
from shop.contracts.catalog import CatalogService
from shop.contracts.events import Line
from tests.conftest import SERVICES
from tests.desk.test_admin import act, rows, text
from tests.support.ordering import place_order

pytestmark = [pytest.mark.django_db(databases=SERVICES), pytest.mark.usefixtures("no_waiting")]

ORDERS, RETURNS, PAYMENTS = "/admin/orders/order/", "/admin/orders/return/", "/admin/payments/payment/"


@pytest.fixture
def order(bus: Bus) -> Order:
    """Three books and a racket that have arrived."""
    seed_stock({7: 10, 8: 10})
    placed = place_order(user_id=1, lines=[Line(7, 3), Line(8, 1)])
    bus.drain()
    return Order.objects.get(pk=placed.pk)


@pytest.fixture
def boss() -> Client:
    return signed_in(is_superuser=True)


def signed_in(*groups: str, **fields: Any) -> Client:
    user = User.objects.create(
        pk=User.objects.count() + 3, email=f"{groups}@example.com", name="Staff", is_staff=True, **fields
    )
    if groups:
        make_groups()
        user.groups.set(Group.objects.filter(name__in=groups))
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    return answer.content.decode()


def offered(client: Client, path: str) -> set[str]:
    """What a page offers to be done: the last parts of addresses, and names of actions."""
    found = page(client, path)
    return {*re.findall(r'href="/admin/orders/order/\d+/(\w+)/"', found)} - {"change", "history"} | {
        *re.findall(r'name="action" value="(\w+)"', found),
        *re.findall(r'action="/admin/orders/order/\d+/(\w+)/"', found),
        *re.findall(r'action="/console/orders/\d+/(\w+)"', found),
    }


def sent(client: Client, path: str, **fields: str) -> Any:
    """The answer to a form's fields as they are on the page, with these changed."""
    found = page(client, path)
    there = dict(re.findall(r'<input [^>]*?name="([\w-]+)" value="([^"]*)"', found))
    return client.post(path, there | {name.replace("_", "-"): value for name, value in fields.items()}, follow=True)


# --- Refunds ---------------------------------------------------------------------------------------------------------
def test_one_of_three_books_is_refunded_after_a_question(boss: Client, order: Order, bus: Bus):
    path = f"{ORDERS}{order.pk}/refund/"
    assert "refund" in offered(boss, f"{ORDERS}{order.pk}/change/")
    assert "Left to give back: ₩29,000." in text(boss, path)  # three at 7,000, one at 8,000
    wanted = {"pieces_7": "1", "reason": "torn"}
    asked = sent(boss, path, **wanted)
    assert "Give ₩7,000 back to the customer?" in asked.content.decode()
    assert not Refund.objects.exists()
    key = re.search(r'name="key" value="(\w+)"', asked.content.decode())[1]  # type: ignore[index]
    for _ in range(2):  # sent twice
        answer = boss.post(
            path, {"pieces-7": "1", "pieces-8": "0", "reason": "torn", "key": key, "agreed": "7000"}, follow=True
        )
        assert "Refund asked for: ₩7,000." in answer.content.decode()
    assert [one.get_change_message() for one in LogEntry.objects.all()] == [
        "Refund of ₩7,000 asked for: torn (1 × Product 7)"
    ] * 2
    bus.drain()
    assert (Refund.objects.get().status, Payment.objects.get().refunded) == ("COMPLETED", 7000)
    shown = text(boss, f"{ORDERS}{order.pk}/change/")
    assert re.search(r"₩7,000\s+torn\s+Completed", shown)
    assert "Left to give back: ₩22,000." in text(boss, path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"reason": "torn"}, "Say how many pieces, or which amount."),
        ({"pieces_7": "1", "other": "5", "reason": "torn"}, "Say either how many pieces, or which amount."),
        ({"other": "29001", "reason": "torn"}, "No more than ₩29,000 is left to give back."),
        ({"other": "0.5", "reason": "torn"}, "The currency has no such unit."),
        ({"pieces_7": "4", "reason": "torn"}, "Ensure this value is less than or equal to 3."),
        ({"pieces_7": "1"}, "This field is required."),
    ],
)
def test_what_cannot_be_refunded_is_said_beside_the_form(boss: Client, order: Order, given: dict[str, str], said: str):
    answer = sent(boss, f"{ORDERS}{order.pk}/refund/", **given, agreed="7000")
    assert said in answer.content.decode()
    assert not Refund.objects.exists()


def test_an_amount_is_agreed_to_as_it_was_shown(boss: Client, order: Order):
    answer = sent(boss, f"{ORDERS}{order.pk}/refund/", other="500", reason="late", agreed="7000")
    assert "Give ₩500 back to the customer?" in answer.content.decode()
    assert not Refund.objects.exists()


# --- Returns ---------------------------------------------------------------------------------------------------------
def test_a_return_from_the_call_to_the_refund_on_its_page(boss: Client, order: Order, bus: Bus):
    path = f"{ORDERS}{order.pk}/return/"
    assert "Say how many pieces." in sent(boss, path, reason="wrong size").content.decode()
    answer = sent(boss, path, pieces_7="2", reason="wrong size")
    of = Return.objects.get()
    assert answer.redirect_chain[-1][0] == f"{RETURNS}{of.pk}/change/"
    here = f"{RETURNS}{of.pk}/change/"
    assert "Product 7" in text(boss, here)
    assert offered(boss, here) == {"approve", "refuse", "withdraw"}
    assert 'max="1"' in page(boss, path)  # the others are in this return
    confirm = act(boss, RETURNS, "approve", of.pk, from_page="1")
    assert "2 × Product 7" in confirm
    assert 'name="from_page" value="1"' in confirm
    answer = boss.post(RETURNS, {"action": "approve", "_selected_action": of.pk, "confirmed": "1", "from_page": "1"})
    assert answer.url == here
    bus.drain(timers=False)
    assert offered(boss, here) == {"receive", "withdraw"}
    act(boss, RETURNS, "receive", of.pk, confirmed="1", from_page="1")
    assert offered(boss, here) == {"inspect"}
    found = {"product-7-accepted": "1", "product-7-written_off": "0", "product-7-rejected": "0"}
    asked = act(boss, RETURNS, "inspect", of.pk, confirmed="1", **found)
    assert "Pieces to be inspected: 2." in asked
    assert 'value="1"' in asked  # what was typed is still there
    act(boss, RETURNS, "inspect", of.pk, confirmed="1", **found | {"product-7-rejected": "1"})
    bus.drain()
    assert offered(boss, here) == set()
    assert re.search(rf"{of.pk}\s+2 × Product 7\s+Completed\s+₩7,000", text(boss, f"{ORDERS}{order.pk}/change/"))


def test_an_exchange_is_requested_and_followed_from_page_to_page(boss: Client, order: Order, bus: Bus):
    path = f"{ORDERS}{order.pk}/return/"
    refused = sent(boss, path, pieces_7="1", other_7="8", kind="EXCHANGE", reason="wrong size").content.decode()
    assert "Product 8 does not cost what was paid for Product 7." in refused
    refused = sent(boss, path, pieces_7="1", other_7="8", reason="wrong size").content.decode()
    assert "Another product is given for an exchange only." in refused
    assert not Return.objects.exists()
    sent(boss, path, pieces_7="2", kind="EXCHANGE", reason="wrong size")
    of = Return.objects.get()
    here = f"{RETURNS}{of.pk}/change/"
    assert re.search(r"Kind:\s+Exchange", text(boss, here))
    act(boss, RETURNS, "approve", of.pk, confirmed="1", from_page="1")
    bus.drain()
    found = {"product-7-accepted": "2", "product-7-written_off": "0", "product-7-rejected": "0"}
    assert "stock and money follow" in act(boss, RETURNS, "inspect", of.pk, confirmed="1", **found)
    bus.drain()
    given = Order.objects.get(exchange_for=of)
    there = f"{ORDERS}{given.pk}/change/"
    assert f'<a href="{there}">order {given.pk}</a>' in page(boss, here)
    assert f'<a href="{here}">return {of.pk}</a>' in page(boss, there)
    assert f'<a href="{ORDERS}{order.pk}/change/">order {order.pk}</a>' in page(boss, there)
    assert not {"refund", "return"} & offered(boss, there)
    assert "return" in offered(boss, f"{ORDERS}{order.pk}/change/")  # what came in exchange
    assert re.search(rf"{of.pk}\s+2 × Product 7 → Product 7\s+Completed", text(boss, f"{ORDERS}{order.pk}/change/"))


def test_without_the_catalogue_only_the_same_product_is_given(boss: Client, order: Order):
    path = f"{ORDERS}{order.pk}/return/"
    with substituting(CatalogService, Away()):
        answer = sent(boss, path, pieces_7="1", other_7="8", kind="EXCHANGE", reason="wrong size").content.decode()
        assert "The catalogue is away" in answer
        assert not Return.objects.exists()
        sent(boss, path, pieces_7="1", kind="EXCHANGE", reason="wrong size")
    assert Return.objects.get().kind == "EXCHANGE"


class Away:
    def get_products(self, _product_ids: Any) -> Any:
        raise Unavailable("catalog is down")


def test_a_refund_that_was_refused_is_settled_by_who_may_refund(boss: Client, order: Order, bus: Bus):
    of = request_return(order.pk, Wanted(lines=[Line(7, 1)]))
    Return.objects.filter(pk=of.pk).update(status="REFUND_REFUSED", refund_due=7000)
    here = f"{RETURNS}{of.pk}/change/"
    assert offered(signed_in("order clerks"), here) == set()
    clerk = signed_in("payment clerks")
    assert offered(clerk, here) == {"refund_again"}
    assert "How much is to be refunded?" in act(clerk, RETURNS, "refund_again", of.pk)
    for amount, said in (("7001", "less than or equal to 7000"), ("0.5", "no more than 0 decimal places")):
        assert said in act(clerk, RETURNS, "refund_again", of.pk, confirmed="1", amount=amount)
    assert "Decided: 1." in act(clerk, RETURNS, "refund_again", of.pk, confirmed="1", amount="3000")
    bus.drain()
    assert list(Refund.objects.values_list("amount", "status")) == [(3000, "COMPLETED")]


# --- Notes -----------------------------------------------------------------------------------------------------------
def test_staff_write_notes_for_each_other(order: Order):
    clerk = signed_in("order clerks")
    path = f"{ORDERS}{order.pk}/note/"
    shown = clerk.post(path, {"text": " Call back\non Monday "}, follow=True).content.decode()
    assert "Call back<br>on Monday" in shown
    assert "User 3" in shown
    for useless in ("", " ", "x" * 1001, "\0"):
        assert "Nothing was noted" in clerk.post(path, {"text": useless}, follow=True).content.decode()
    assert OrderNote.objects.get().text == "Call back\non Monday"
    assert "Monday" not in str(list(StaffAction.objects.values_list("action", "target", "after")))


# --- Samples ---------------------------------------------------------------------------------------------------------
def test_sample_orders_are_changed_returned_and_exchanged(bus: Bus, settings: Any, monkeypatch: pytest.MonkeyPatch):
    settings.DEBUG = True
    seed_users(USERS, password="x")
    seed_stock({7: 10, 8: 10})
    said = StringIO()
    monkeypatch.setattr(seed.time, "sleep", lambda _: bus.drain())
    call_command("seed", "--orders", "--quiet", stdout=said)
    assert "one piece of three is cancelled" in said.getvalue()
    bus.drain()
    assert [(order.lines[0].quantity, order.exchange_for_id is None) for order in Order.objects.order_by("pk")] == [
        (2, True), (1, True), (1, True), (1, False),
    ]  # fmt: skip
    assert [(of.kind, of.status) for of in Return.objects.order_by("pk")] == [
        ("REFUND", "REQUESTED"), ("EXCHANGE", "COMPLETED"),
    ]  # fmt: skip
    monkeypatch.setattr(seed, "PATIENCE", 0.0)
    with pytest.raises(CommandError, match="has not arrived within 0 s: start the shop"):
        call_command("seed", "--orders", "--quiet")


# --- Who may, and when -----------------------------------------------------------------------------------------------
def test_everybody_is_offered_what_they_may_do(order: Order):
    path = f"{ORDERS}{order.pk}/change/"
    assert offered(signed_in("order clerks"), path) == {"note", "return"}
    assert offered(signed_in("payment clerks"), path) == {"refund"}
    assert offered(signed_in("support"), path) == {"note", "return"}


def test_nothing_is_offered_that_cannot_be_done(boss: Client, order: Order, bus: Bus):
    new = place_order(user_id=1, lines=[Line(7, 2)])
    path = f"{ORDERS}{new.pk}/change/"
    assert offered(boss, path) == {"cancel", "change", "resume", "note"}
    page = boss.get(path).content.decode()
    assert all(f"Yes, {act} this order" in page for act in ("cancel", "change", "resume"))  # asked back first
    Order.objects.filter(pk=new.pk).update(status="CANCELLED")
    assert offered(boss, path) == {"note"}
    assert boss.get(f"{ORDERS}4711/refund/").status_code == 404
    stranger = signed_in("stock clerks")
    for name in ("refund", "return", "note"):
        assert stranger.get(f"{ORDERS}{order.pk}/{name}/").status_code == 403
        assert Client().get(f"{ORDERS}{order.pk}/{name}/").status_code == 302
    assert signed_in("order clerks").post(f"{ORDERS}{order.pk}/refund/").status_code == 403


def test_an_order_is_found_by_the_name_of_a_product(boss: Client, order: Order, goods: None):
    other = place_order(user_id=1, lines=[Line(8, 1)])
    assert rows(boss, f"{ORDERS}?q=clean+c") == [str(order.pk)]
    assert rows(boss, f"{ORDERS}?q=racket") == [str(other.pk), str(order.pk)]
    assert rows(boss, f"{ORDERS}?q=7") == []


@pytest.fixture
def goods() -> None:
    from catalog.models import Product

    Product.objects.create(pk=7, name="Clean Code", price=7000, category="BOOK")
    Product.objects.create(pk=8, name="Tennis racket", price=8000, category="SPORTS")


@pytest.mark.parametrize("settled", ["capture_again", "write_off"])
def test_what_is_unpaid_is_settled_from_the_order(bus: Bus, settings: Any, settled: str):
    settings.PAYMENT_CAPTURE = "at_hand_over"
    seed_stock({7: 10})
    order = place_order(user_id=1, lines=[Line(7, 1)], payment_token="tok_hold_lost")
    bus.drain()
    clerk = signed_in("payment clerks")
    assert rows(clerk, f"{ORDERS}?progress=unpaid") == [str(order.pk)]
    assert f"{PAYMENTS}?q={order.pk}" in page(clerk, f"{ORDERS}{order.pk}/change/")
    payment = Payment.objects.get()
    here = f"{PAYMENTS}{payment.pk}/change/"
    assert offered(clerk, here) == {"capture_again", "write_off"}
    if settled == "capture_again":
        GatewayLedger.objects.filter(kind="VOID").delete()
        assert "To be captured again: 1." in act(clerk, PAYMENTS, "capture_again", payment.pk, from_page="1")
    else:
        assert "Nothing was written off: say why" in act(clerk, PAYMENTS, "write_off", payment.pk)
        assert "Written off: 1." in act(clerk, PAYMENTS, "write_off", payment.pk, reason="a friend", from_page="1")
    assert offered(clerk, here) == set()
    Payment.objects.exclude(due_at=None).update(due_at=payment.created_at)
    bus.drain()
    assert Order.objects.get().status == "COMPLETED"
    assert rows(clerk, f"{ORDERS}?progress=unpaid") == []


def test_what_has_arrived_unpaid_is_not_returned_yet(bus: Bus, settings: Any):
    settings.PAYMENT_CAPTURE = "at_hand_over"
    seed_stock({7: 10})
    order = place_order(user_id=1, lines=[Line(7, 1)], payment_token="tok_hold_lost")
    bus.drain()
    assert Order.objects.get().status == "UNPAID"
    with pytest.raises(NotDelivered, match="is not paid yet: it can be returned once the shop has settled that"):
        request_return(order.pk, Wanted(lines=[Line(7, 1)]))


def test_messages_and_webhooks_are_acted_on_from_their_pages(boss: Client, order: Order):
    message = Notification.objects.order_by("pk")[0]
    here = f"/admin/notifications/notification/{message.pk}/change/"
    assert offered(boss, here) == set()
    Notification.objects.filter(pk=message.pk).update(status="FAILED")
    assert offered(boss, here) == {"send_again"}
    webhook = Webhook.objects.create(owner_id=1, url="https://example.com", events=[], secret="x")
    here = f"/admin/notifications/webhook/{webhook.pk}/change/"
    assert offered(boss, here) == {"disable", "ping"}
    act(boss, "/admin/notifications/webhook/", "disable", webhook.pk, from_page="1")
    assert offered(boss, here) == {"enable", "ping"}


# --- In the reader's language ----------------------------------------------------------------------------------------
def test_what_rows_say_in_english_is_read_in_korean(boss: Client, bus: Bus):
    seed_stock({7: 10})
    placed = place_order(user_id=1, lines=[Line(7, 3)])
    request_change(placed.pk, key="k", quantities={7: 2}, reason="one too many")
    bus.drain()
    of = request_return(placed.pk, Wanted(lines=[Line(7, 1)], reason="torn"))
    payment = Payment.objects.get(order_id=placed.pk)
    boss.defaults["HTTP_ACCEPT_LANGUAGE"] = "ko"
    for path, korean in (
        (f"{ORDERS}{placed.pk}/change/", f"반품 {of.pk}번"),
        (f"{PAYMENTS}{payment.pk}/change/", "주문 변경"),
        ("/admin/inventory/stockmovement/", "첫 재고"),
    ):
        assert korean in page(boss, path), path
    assert "the order was changed" not in page(boss, f"{PAYMENTS}{payment.pk}/change/")


def test_who_may_not_reset_a_password_is_not_offered_to(boss: Client, bus: Bus):
    customer = User.objects.create(pk=1, email="customer@example.com", name="Kim")
    path = f"/admin/accounts/user/{customer.pk}/change/"
    support = page(signed_in("support"), path)
    assert "../password/" in page(boss, path)
    assert "../password/" not in support
    assert f"{ORDERS}?user_id={customer.pk}" in support

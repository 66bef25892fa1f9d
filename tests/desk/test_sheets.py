"""Products and stock as CSV: out, in with a preview, errors by line; and many prices changed at once."""

import csv
import io
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from tablib import Dataset

from accounts.models import User
from catalog.models import Product
from catalog.models import StaffAction as CatalogAction
from catalog.services import change_product, seed_products
from desk.cells import shielded, unshielded
from desk.sheets import Kept
from inventory.models import StockItem, StockMovement
from inventory.services import seed_stock
from inventory.sheets import StockSheet
from tests.conftest import SERVICES
from tests.support.locks import take_turns

pytestmark = pytest.mark.django_db(databases=SERVICES)

PRODUCTS, STOCK = "/admin/catalog/product", "/admin/inventory/stockitem"


@pytest.fixture
def boss(bus: Any) -> Client:
    """Signed in; with three products, of which two have stock."""
    user = User.objects.create(email="boss@example.com", name="Boss", is_staff=True, is_superuser=True)
    book = {"id": 1, "name": "클린 코드", "price": 33000, "category": "BOOK"}
    link = {"id": 2, "name": "=HYPERLINK(1)", "price": 1999, "currency": "USD"}
    seed_products([book, link, {"id": 3, "name": "-5", "price": 10}])
    seed_stock({1: 10, 2: 5})
    client = Client()
    client.force_login(user)
    return client


def upload(client: Client, page: str, text: str) -> Any:
    """The preview of a file."""
    file = SimpleUploadedFile("sheet.csv", text.encode("utf-8-sig"), "text/csv")
    return client.post(f"{page}/import/", {"import_file": file, "format": "0", "resource": "0"})


def confirm(client: Client, page: str, preview: Any) -> list[str]:
    """What is said after the preview was agreed to."""
    assert "confirm_form" in preview.context, wrong(preview)
    form = preview.context["confirm_form"].initial
    answer = client.post(f"{page}/process_import/", form, follow=True)
    return [str(one) for one in answer.context["messages"]]


def wrong(preview: Any) -> dict[int, str]:
    """{line: error}; with any, nothing can be confirmed."""
    result = preview.context["result"]
    found = {row.number: "; ".join(row.error.messages) for row in result.invalid_rows}
    found |= {number: repr(errors[0].error) for number, errors in result.row_errors()}
    assert ("confirm_form" in preview.context) == (not found and not result.has_errors())
    return found


def exported(client: Client, page: str) -> list[dict[str, str]]:
    answer = client.get(f"{page}/export/")
    assert answer["Content-Type"] == "text/csv"
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


# --- Products ---------------------------------------------------------------------------------------------------------
def test_products_go_out_and_come_in_again_unchanged(boss: Client):
    rows = exported(boss, PRODUCTS)
    assert [(row["id"], row["name"], row["price"], row["active"]) for row in rows] == [
        ("1", "클린 코드", "33000", "1"),
        ("2", "'=HYPERLINK(1)", "19.99", "1"),
        ("3", "-5", "10", "1"),
    ]

    text = boss.get(f"{PRODUCTS}/export/").content.decode("utf-8-sig")
    preview = upload(boss, PRODUCTS, text)
    assert preview.context["result"].totals == {"new": 0, "update": 0, "delete": 0, "skip": 3, "error": 0, "invalid": 0}
    confirm(boss, PRODUCTS, preview)
    assert list(Product.objects.order_by("pk").values_list("name", "version")) == [
        ("클린 코드", 1), ("=HYPERLINK(1)", 1), ("-5", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["=1", "'=1", "''=1", "+x", "-x", "@x", "\tx", "\nx", "＝1", "＋x", "－x", "＠x", "'x", "x", "", "-5", "+5"]
)
def test_a_cell_survives_the_way_through_a_spreadsheet(text: str):
    assert unshielded(shielded(text)) == text
    assert text in ("'x", "x", "", "-5", "+5") or shielded(text) == f"'{text}"


def test_a_preview_shows_what_changes_and_changes_nothing(boss: Client):
    preview = upload(boss, PRODUCTS, "id,price,name\n1,34650,클린 코드\n,500,<b>New</b>\n")
    assert wrong(preview) == {}
    page = preview.content.decode()
    assert "33000 → 34650" in page
    assert [row.diff[0] for row in preview.context["result"].rows] == ["1", ""]  # a new row has no number yet
    assert "&lt;b&gt;New&lt;/b&gt;" in page
    assert " style=" not in page.partition('id="content"')[2]
    assert Product.objects.get(pk=1).price == 33000
    assert Product.objects.count() == 3
    assert not CatalogAction.objects.exists()

    said = confirm(boss, PRODUCTS, preview)
    assert "1 new, 1 updated" in said[0]
    assert Product.objects.get(pk=1).price == 34650
    assert Product.objects.get(name="<b>New</b>").price == 500
    assert [(one.action, one.way, one.before) for one in CatalogAction.objects.order_by("pk")] == [
        ("change", "admin", {"price": 33000}),
        ("create", "admin", None),
    ]


def test_errors_are_told_by_line(boss: Client):
    lines = ["1,12.5,1,1", "2,0,1,1", "99,5,1,1", "3,20,maybe,1", "1,40000,1,7", "x,1,1,1"]
    errors = wrong(upload(boss, PRODUCTS, "\n".join(["id,price,active,version", *lines, ""])))
    assert errors[1] == "The currency has no such unit."
    assert "greater than or equal to 1" in errors[2]
    assert errors[3].startswith("There is no product 99")
    assert errors[4] == "Give 1 for yes or 0 for no."
    assert errors[5].startswith("The product has changed since it was read.")
    assert Product.objects.get(pk=2).price == 1999


def test_prices_are_those_of_price_tags(boss: Client):
    preview = upload(boss, PRODUCTS, "id,name,price,currency\n2,=HYPERLINK(1),20.5,USD\n,Pen,1.255,KWD\n")
    assert wrong(preview) == {}
    assert "19.99 → 20.50" in preview.content.decode()
    confirm(boss, PRODUCTS, preview)
    assert list(Product.objects.filter(currency__in=["USD", "KWD"]).values_list("price", flat=True)) == [2050, 1255]

    errors = wrong(upload(boss, PRODUCTS, "id,price\n1,0.5\n2,20.505\n3,1e3\n"))
    assert errors == {
        1: "The currency has no such unit.",
        2: "The currency has no such unit.",
        3: "Give an amount as on a price tag, without separators.",
    }
    assert "has the column price, too" in upload(boss, PRODUCTS, "id,currency\n1,USD\n").content.decode()


def test_a_column_that_is_not_known_is_not_ignored(boss: Client):
    preview = upload(boss, PRODUCTS, "id,prise\n1,5\n")
    assert "There is no column prise." in preview.content.decode()
    assert "confirm_form" not in preview.context


def test_two_who_confirm_one_file_at_once_add_its_products_once(boss: Client):
    text = "id,name,price\n,New,500\n1,Changed,33000\n"
    preview = upload(boss, PRODUCTS, text)
    confirm(boss, PRODUCTS, preview)
    change_product(Product.objects.get(name="New").pk, {"price": 600})
    name = preview.context["confirm_form"].initial["import_file_name"]
    Kept(name=name).save(text.encode("utf-8-sig"))  # read before it was gone
    said = confirm(boss, PRODUCTS, preview)
    assert said[0].startswith("Nothing was imported")
    assert said[1] == "Line 2: This line was imported already."
    assert Product.objects.get(name="New").price == 600


def test_what_has_changed_since_the_preview_is_not_imported(boss: Client):
    preview = upload(boss, PRODUCTS, "id,price,version\n2,20,1\n1,34650,1\n")
    change_product(1, {"price": 35000})
    said = confirm(boss, PRODUCTS, preview)
    assert said[0].startswith("Nothing was imported")
    assert said[1].startswith("Line 3: The product has changed")
    assert [Product.objects.get(pk=pk).price for pk in (1, 2)] == [35000, 1999]


def test_who_may_import_and_export(boss: Client):
    user = User.objects.create(email="clerk@example.com", name="Clerk", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_product"))
    clerk = Client()
    clerk.force_login(user)
    assert clerk.get(f"{PRODUCTS}/export/").status_code == 200
    assert clerk.get(f"{PRODUCTS}/import/").status_code == 403
    assert clerk.post(f"{PRODUCTS}/process_import/").status_code == 403
    assert clerk.get(f"{STOCK}/export/").status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="change_product"))
    assert wrong(upload(clerk, PRODUCTS, "id,name,price\n,New,5\n")) == {1: "You may not add products."}


# --- Stock ------------------------------------------------------------------------------------------------------------
def test_stock_is_booked_by_line_and_once(boss: Client):
    assert exported(boss, STOCK)[0] == {
        "product_id": "1", "location": "MAIN", "name": "Product 1", "on_hand": "10", "reserved": "0", "low_below": "10",
        "delta": "", "reason": "",
    }  # fmt: skip
    preview = upload(boss, STOCK, "product_id,delta,reason,low_below\n1,5,delivery 7,3\n2,,,10\n2,-1,broken,10\n")
    assert "10 → 15" in preview.content.decode()
    assert StockMovement.objects.count() == 2
    said = confirm(boss, STOCK, preview)
    assert "0 new, 2 updated, 0 deleted and 1 skipped" in said[0]
    assert "imported already" in confirm(boss, STOCK, preview)[0]
    assert list(StockItem.objects.order_by("product_id").values_list("on_hand", "low_below")) == [(15, 3), (4, 10)]
    booked = StockMovement.objects.order_by("pk").values_list("product_id", "delta", "reason")[2:]
    assert list(booked) == [(1, 5, "delivery 7"), (2, -1, "broken")]


def test_two_who_confirm_one_file_at_once_book_it_once(boss: Client, settings: Any):
    text = "product_id,delta,reason\n1,5,delivery 7\n"
    preview = upload(boss, STOCK, text)
    confirm(boss, STOCK, preview)
    name = preview.context["confirm_form"].initial["import_file_name"]
    Kept(name=name).save(text.encode("utf-8-sig"))  # read before it was gone
    said = confirm(boss, STOCK, preview)
    assert said[1] == "Line 2: This booking was made already."
    assert StockItem.objects.get(product_id=1).on_hand == 15


def test_a_file_that_somebody_has_changed_since_its_preview_is_not_imported(boss: Client):
    preview = upload(boss, STOCK, "product_id,delta,reason\n1,5,delivery 7\n")
    Kept(name=preview.context["confirm_form"].initial["import_file_name"]).save(b"product_id,delta,reason\n1,500,x\n")
    assert confirm(boss, STOCK, preview)[0].startswith("Nothing was imported")
    assert StockItem.objects.get(product_id=1).on_hand == 10


def test_the_first_stock_of_a_product_and_lines_that_are_wrong(boss: Client):
    errors = wrong(
        upload(boss, STOCK, "product_id,delta,reason\n1,-11,too many\n1,0,none\n1,3,\n4711,3,unknown\n3,7,first\n")
    )
    assert errors.keys() == {1, 2, 3, 4}
    assert errors[1].startswith("0 of 10 units are reserved")
    assert errors[3].startswith("Say why")
    assert errors[4] == "There is no product 4711 to keep stock of."
    assert wrong(upload(boss, STOCK, "product_id,delta,reason\n 3 ,7,first\n")) == {}
    preview = upload(boss, STOCK, "product_id,delta,reason\n3,7,first\n")
    assert "1 new" in confirm(boss, STOCK, preview)[0]
    assert StockItem.objects.get(product_id=3).on_hand == 7


@pytest.mark.django_db(databases=["inventory"], transaction=True)
def test_two_imports_of_new_products_do_not_deadlock():
    def book(*products: int) -> None:
        lines = Dataset(*((str(pk), "1", "first") for pk in products), headers=("product_id", "delta", "reason"))
        sheet = StockSheet()
        sheet.names = {1: "One", 2: "Two"}
        super(StockSheet, sheet).import_data(lines, use_transactions=True, raise_errors=True)

    seed_stock({})
    take_turns("inventory", lambda: book(1), lambda: book(2, 1), lambda: book(2))

    assert dict(StockItem.objects.values_list("product_id", "on_hand")) == {1: 2, 2: 2}


def test_stock_is_booked_at_the_location_of_its_line(boss: Client):
    seed_stock({1: 3}, "EAST")
    rows = exported(boss, STOCK)
    assert [(row["product_id"], row["location"], row["on_hand"]) for row in rows] == [
        ("1", "EAST", "3"), ("1", "MAIN", "10"), ("2", "MAIN", "5"),
    ]  # fmt: skip
    text = "product_id,location,delta,reason\n1,EAST,-3,moved\n1,,3,moved\n2,EAST,1,found\n"
    assert wrong(upload(boss, STOCK, text + "1,WEST,1,found\n")) == {4: "There is no location WEST."}
    assert "1 new, 2 updated" in confirm(boss, STOCK, upload(boss, STOCK, text))[0]
    items = StockItem.objects.order_by("product_id", "location_id")
    assert list(items.values_list("product_id", "location_id", "on_hand")) == [
        (1, "EAST", 0), (1, "MAIN", 13), (2, "EAST", 1), (2, "MAIN", 5),
    ]  # fmt: skip


# --- Many prices ------------------------------------------------------------------------------------------------------
def reprice(client: Client, **form: str) -> Any:
    chosen = {"action": "change_prices", "_selected_action": ["1", "2", "3"]}
    return client.post(f"{PRODUCTS}/", {**chosen, **form}, follow=True)


def agree(client: Client, shown: Any) -> list[str]:
    answer = reprice(client, agreed=shown.context["agreed"])
    return [str(one) for one in answer.context["messages"]]


def prices() -> list[int]:
    return list(Product.objects.order_by("pk").values_list("price", flat=True))


@pytest.mark.parametrize(
    ("by", "unit", "step", "becomes"),
    [
        ("5", "percent", "1", [34650, 2099, 11]),  # 2098.95, 10.5
        ("-10", "percent", "10", [29700, 1800, 10]),  # 1799.1, 9
        ("1.50", "amount", "1", [33002, 2149, 12]),  # won have no cents: half of one is rounded up
    ],
)
@pytest.mark.django_db(databases=SERVICES, transaction=True)
def test_prices_are_shown_before_they_change(boss: Client, by: str, unit: str, step: str, becomes: list[int]):
    asked = reprice(boss)
    assert "agreed" not in asked.content.decode()
    shown = reprice(boss, by=by, unit=unit, step=step)
    assert [one.price for one in shown.context["changes"]] == becomes
    assert prices() == [33000, 1999, 10]
    assert agree(boss, shown) == ["Prices changed: 3."]
    assert prices() == becomes
    logged = CatalogAction.objects.order_by("target").values_list("action", "before", "after")
    assert logged[0] == ("change", {"price": 33000}, {"price": becomes[0]})


@pytest.mark.django_db(databases=SERVICES, transaction=True)
def test_prices_that_somebody_else_has_changed_stay(boss: Client):
    shown = reprice(boss, by="5", unit="percent", step="1")
    change_product(3, {"price": 12})
    assert agree(boss, shown)[0].startswith("No price was changed: a product has changed")
    assert prices() == [33000, 1999, 12]


def test_a_price_that_is_none_cannot_be_agreed_to(boss: Client):
    for change, unit in (("-10", "amount"), ("999999999999999", "percent")):
        shown = reprice(boss, by=change, unit=unit, step="1")
        assert "not a price" in shown.content.decode(), change
        assert not re.search(r'name="agreed"', shown.content.decode())

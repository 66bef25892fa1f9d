"""Orders of sample customers, placed from the landing page. Needs no sign-in, so only on development machines."""

from typing import Any

from django import forms
from django.apps import apps
from django.conf import settings
from django.utils.module_loading import import_string

from commands.samples import ADDRESS, USERS
from shop.calls import connect
from shop.contracts.events import Line
from shop.contracts.inventory import InventoryService
from shop.money import money

CHOICES = ("normal", "out_of_stock", "declined", "delivery_refused", "on_a_page")  # also the names of their texts
REFUSED = f"{ADDRESS}, addr_refused_by_recipient"
TOKENS = {"declined": "tok_declined", "on_a_page": "tok_action"}  # nosec B105: of the sandbox
CUSTOMERS = [user["email"] for user in USERS if not user.get("is_superuser")]


class OrderForm(forms.Form):
    """The order form. Its constructor raises one of `OUTAGES` while the database of accounts or catalog is down."""

    use_required_attribute = False

    def __init__(self, data: Any, texts: dict[str, str]) -> None:
        super().__init__(data)
        users = apps.get_model("accounts", "User").objects.filter(email__in=CUSTOMERS, is_active=True)
        products = apps.get_model("catalog", "Product").objects.filter(active=True)
        self.customers = list(users.order_by("pk").values_list("pk", "name", "email"))
        self.products = list(products.order_by("pk").values_list("pk", "name", "price", "currency")[:50])
        self.fields |= {
            "customer": forms.ChoiceField(
                label=texts["customer"], choices=[(pk, f"{name} ({email})") for pk, name, email in self.customers]
            ),
            "product": forms.ChoiceField(
                label=texts["product"],
                choices=[(pk, f"{name} – {money(price, currency)}") for pk, name, price, currency in self.products],
            ),
            "gateway": forms.ChoiceField(
                label=texts["pay_with"], choices=[(name, name) for name in settings.PAYMENT_GATEWAYS], required=False
            ),
            "outcome": forms.ChoiceField(
                label=texts["what_happens"],
                choices=[(name, texts[name]) for name in CHOICES],
                initial=CHOICES[0],
                widget=forms.RadioSelect,
            ),
        }

    @property
    def is_usable(self) -> bool:
        """Whether there are customers and products to choose from."""
        return bool(self.customers and self.products)

    @property
    def has_pages(self) -> bool:
        """Whether there are providers with payment pages, where the customer decides instead of the outcome."""
        return any(not gateway.needs_token for gateway in settings.PAYMENT_GATEWAYS.values())

    def place(self) -> int:
        """Place the order and return its id. Raises `Problem` for a refusal, and one of `OUTAGES`."""
        outcome, product_id = self.cleaned_data["outcome"], int(self.cleaned_data["product"])
        gateway = self.cleaned_data["gateway"] or settings.DEFAULT_PAYMENT_GATEWAY
        token = TOKENS.get(outcome, "tok_ok") if settings.PAYMENT_GATEWAYS[gateway].needs_token else ""
        order = import_string("orders.placing.place_order")(
            user_id=int(self.cleaned_data["customer"]),
            lines=[Line(product_id, _more_than_there_is(product_id) if outcome == "out_of_stock" else 1)],
            payment_gateway=gateway,
            payment_token=token,
            address=REFUSED if outcome == "delivery_refused" else ADDRESS,
        )
        return int(order.pk)


def _more_than_there_is(product_id: int) -> int:
    stock = connect(InventoryService).get_stock([product_id]).get(product_id)
    return stock.on_hand - stock.reserved + 1 if stock else 1

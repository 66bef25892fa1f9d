"""WHO MAY DO WHAT, ON ONE PAGE: the rights that endpoints, fields and pages require, and the groups that have them.

A right is a Django permission, "app.codename". The admin checks it for its models, an endpoint names it in `rights`
(see `shop/api/permissions.py`), and a token carries those in `SCOPES` that its user has. A right counts for staff only,
and `is_staff` alone grants nothing.

`manage.py rights` prints roles, routes and verbs as a table; `docs/rights.md` is made from it.
"""

from collections.abc import Mapping

# The rights that the API and the console check, and what each of them grants.
SCOPES: Mapping[str, str] = {
    "accounts.view_user": "everybody's name, e-mail address and role",
    "accounts.view_phone": "their phone numbers",
    "catalog.add_product": "a new product",
    "catalog.change_product": "products, prices, what is on sale",
    "catalog.view_product": "products that are not on sale",
    "inventory.view_stockitem": "what is on the shelf and what is promised",
    "inventory.change_stockitem": "booking stock in and out",
    "orders.view_order": "everybody's orders",
    "orders.add_order": "orders for others",
    "orders.change_order": "cancelling, changing and resuming others' orders; notes on them",
    "orders.view_return": "everybody's returns",
    "orders.add_return": "returns for others, also after the days in which customers may return",
    "orders.change_return": "approving, refusing, receiving and inspecting returns",
    "payments.view_payment": "everybody's payments; nobody sees their tokens",
    "payments.change_payment": "giving a part of an order's money back; settling orders that are unpaid",
    "delivery.view_delivery": "everybody's deliveries",
    "delivery.view_address": "where they go",
    "notifications.view_notification": "what others were told",
    "notifications.view_recipient": "at which address or number",
    "notifications.add_webhook": "webhooks of one's own, for what one may see",
    "notifications.change_webhook": "everybody's webhooks",
    "shop.operate": "what goes on inside: health, queues, circuit breakers",
}

LOOK_AT_ORDERS = (
    "orders.view_order", "orders.view_orderline", "orders.view_ordershipment", "orders.view_orderchange",
    "orders.view_refund", "orders.view_timelineentry", "orders.view_return", "orders.view_returnline",
)  # fmt: skip
SAGA_SERVICES = ("accounts", "orders", "inventory", "payments", "delivery", "notifications")

# Created by `manage.py migrate_all` unless they exist, so an owner's changes to a group are kept.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "catalogue clerks": (
        "catalog.view_product", "catalog.add_product", "catalog.change_product", "inventory.view_stockitem",
    ),
    "stock clerks": (
        "catalog.view_product", "inventory.view_stockitem", "inventory.add_stockitem", "inventory.change_stockitem",
        "inventory.view_stockmovement", "inventory.view_reservation", "inventory.view_reservationline",
        "inventory.view_location", "inventory.add_location", "inventory.change_location",
    ),
    "order clerks": (
        *LOOK_AT_ORDERS, "orders.add_order", "orders.change_order", "orders.add_return", "orders.change_return",
        "accounts.view_user", "catalog.view_product",
        "inventory.view_stockitem", "inventory.view_reservation", "inventory.view_reservationline",
        "delivery.view_delivery", "delivery.change_delivery", "delivery.view_address", "delivery.view_carrierevent",
        "notifications.view_notification",
    ),
    "payment clerks": (
        *LOOK_AT_ORDERS, "accounts.view_user", "payments.view_payment", "payments.change_payment",
        "payments.view_paymentattempt", "payments.view_paymentoperation", "payments.view_gatewayledger",
        "payments.view_reconciliation", "payments.view_reconciliationdifference",
    ),
    "support": (
        *LOOK_AT_ORDERS, "orders.change_order", "orders.add_return", "accounts.view_user", "accounts.view_phone",
        "payments.view_payment",
        "delivery.view_delivery", "delivery.view_address", "delivery.view_carrierevent",
        "notifications.view_notification", "notifications.view_recipient", "notifications.change_notification",
        "notifications.view_suppression", "notifications.change_suppression",
        *(f"notifications.{verb}_messagetemplate" for verb in ("view", "add", "change", "delete")),
    ),
    "operators": (
        *LOOK_AT_ORDERS, "orders.change_order", "shop.operate", "payments.view_sandboxswitch",
        "payments.change_sandboxswitch",
        *(f"{service}.{right}" for service in SAGA_SERVICES for right in ("view_deadletter", "change_deadletter")),
        "notifications.view_webhook", "notifications.add_webhook", "notifications.change_webhook",
        "notifications.view_webhookmessage", "notifications.change_webhookmessage",
        *(f"{service}.view_outbox" for service in ("accounts", "orders", "inventory", "payments", "delivery")),
        *(f"{service}.view_staffaction" for service in ("catalog", *SAGA_SERVICES)),
    ),
}  # fmt: skip

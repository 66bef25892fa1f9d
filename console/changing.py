"""Changing an order before its hand-over, for staff: the form on the order's page in the admin."""

from http import HTTPStatus
from importlib import import_module
from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from console.pages import may
from console.texts import texts
from shop.api.problems import Problem
from shop.languages import language
from shop.text import LinesField

CHANGE = "orders.change_order"
LONGEST_ADDRESS = 500  # characters, as in the API
PIECES = "pieces-"  # what the field with a product's quantity begins with


@require_POST
def change(request: HttpRequest, order_id: int) -> HttpResponse:
    """Ask for other quantities, or for another address. The form's key makes it safe to send twice. The admin's log
    records who did."""
    if not may(request, CHANGE):
        return HttpResponse(status=HTTPStatus.FORBIDDEN)
    model: Any = apps.get_model("orders", "Order")
    changes, t = import_module("orders.changes.requests"), texts(language(request))
    why, key = (request.POST.get(name, "").strip()[:200] for name in ("why", "key"))
    given = {name.removeprefix(PIECES): request.POST.get(name, "") for name in request.POST if name.startswith(PIECES)}
    quantities = {
        int(product): int(quantity)
        for product, quantity in given.items()
        if product.isdecimal() and quantity.isdecimal() and len(product) < 19 and len(quantity) < 5
    }
    try:
        address = LinesField(max_length=LONGEST_ADDRESS, required=False).clean(request.POST.get("address", ""))
    except ValidationError:
        address = ""
    if not (why and key and (quantities or address)) or len(quantities) < len(given):
        messages.error(request, t["change_say_why"])
    else:
        is_known = apps.get_model("orders", "OrderChange").objects.filter(order=order_id, key=key).exists()
        try:
            changes.request_change(order_id, key=key, quantities=quantities, address=address, reason=why)
        except Problem as refused:
            messages.error(request, str(refused.detail))
        else:
            if not is_known:
                order = model.objects.get(pk=order_id)
                admin.site.get_model_admin(model).log_change(request, order, f"Change asked for: {why}")
            messages.success(request, t["changing"])
    return redirect("admin:orders_order_change", order_id)

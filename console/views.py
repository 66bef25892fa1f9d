"""The console's pages: landing page, live state, placing a sample order, an order's saga, dead letters, fault switches.

What goes on inside is for staff with the right, on development machines for everybody; acting on an order is for staff
with the right always.
"""

import json
from http import HTTPStatus
from importlib import import_module
from math import ceil
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from console import events
from console import saga as sagas
from console.letters import open_letters
from console.ordering import OrderForm
from console.orders import listed
from console.pages import OPERATE, fragment, may, may_look, page, visitor
from console.pending import pending
from console.state import state
from console.texts import texts
from desk import words
from sagas.outages import OUTAGES
from sagas.registry import local_services
from shop import faults
from shop.api.problems import Problem
from shop.contracts.reasons import BY_STAFF
from shop.languages import language
from shop.money import money
from shop.operations.timeline import LANES
from shop.operations.watch import may_watch
from shop.redaction import masked

VIEW, CHANGE = "orders.view_order", "orders.change_order"
VIEW_CUSTOMERS, VIEW_PHONES = "accounts.view_user", "accounts.view_phone"
VIEW_RECIPIENTS = "notifications.view_recipient"
MAP = ("inventory", "payments", "delivery", "orders")  # in the order of the saga
ELSEWHERE = {"flower": "FLOWER_URL", "traces": "TRACES_URL", "dashboards": "DASHBOARDS_URL"}

FAVICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8"
fill="#1f6f5c"/><path d="M8 12h12l4 4-4 4H8" fill="none" stroke="#fff" stroke-width="3" stroke-linejoin="round"
stroke-linecap="round"/></svg>"""


@require_safe
def favicon(_: HttpRequest) -> HttpResponse:
    return HttpResponse(FAVICON, content_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """The landing page. Asks servers only for the form's choices, so it renders whatever is down."""
    return _landing(request)


def _landing(request: HttpRequest, data: Any = None, refusal: str = "", status: int = 200) -> HttpResponse:
    t = texts(language(request))
    form, no_form = None, ""
    if settings.DEBUG:
        try:
            form = OrderForm(data, t)
            no_form = "" if form.is_usable else t["no_samples"]
        except OUTAGES:
            no_form = t["no_form"]
    near = may_watch(request)
    links = [
        ("admin", "admin:index", t["link_admin"]),
        ("link_api", "products", t["link_api_what"]),
        ("link_docs", "docs", t["link_docs_what"]),
        ("link_schema", "schema", t["link_schema_what"]),
        ("orders", "orders", t["orders_what"]),
        ("link_letters", "dead-letters", t["link_letters_what"]),
        *([("link_metrics", "metrics", t["link_metrics_what"])] if near else []),
        *([("link_ready", "readyz", t["link_ready_what"])] if near else []),
        *([("link_faults", "faults", t["link_faults_what"])] if settings.DEBUG else []),
    ]
    context = {
        "links": [(t[name], reverse(address), what) for name, address, what in links],
        "elsewhere": [
            (t[f"link_{name}"], settings.LINKS[name], t[f"link_{name}_what"], variable)
            for name, variable in ELSEWHERE.items()
        ],
        "map": [(name, t[f"map_{name}"], t[f"undo_{name}"]) for name in MAP],
        "form": form,
        "no_form": no_form,
        "refusal": refusal,
        "may_look": may_look(request),
    }
    return page(request, "console/landing.html", context, status)


@require_safe
def state_now(request: HttpRequest) -> HttpResponse:
    """The part of the landing page that refreshes itself."""
    if not may_look(request):
        return JsonResponse({}, status=HTTPStatus.FORBIDDEN)
    now, t = state(), texts(language(request))
    said = f"{t['some_down']} {', '.join(now.down)}" if now.down else t["all_up"]
    return fragment(request, "console/_state.html", {"state": now, "said": said}, said=said, ended=False, down=now.down)


@require_POST
def place_order(request: HttpRequest) -> HttpResponse:
    """Place a sample customer's order and redirect to its saga."""
    _on_development_machines()
    t = texts(language(request))
    try:
        form = OrderForm(request.POST, t)
        if not form.is_valid():
            return _landing(request, request.POST, t["choose"], HTTPStatus.BAD_REQUEST)
        return redirect("saga", form.place())
    except Problem as refused:
        return _landing(request, request.POST, str(refused.detail), refused.status_code)
    except OUTAGES:
        return _landing(request, request.POST, t["no_form"], HTTPStatus.SERVICE_UNAVAILABLE)


@require_safe
@never_cache
def saga(request: HttpRequest, order_id: int) -> HttpResponseBase:
    """An order's saga. Includes the live part, for browsers without JavaScript."""
    if not may_look(request, VIEW):
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    found = _saga(order_id)
    staff = may(request, CHANGE)
    context = {
        **_told(request, found),
        "rows_in_admin": sagas.rows_in_admin(order_id, visitor(request)),
        "staff": staff,
        **_possible(found),
    }
    return page(request, "console/saga.html", context)


def _possible(found: sagas.Saga) -> dict[str, bool]:
    """Whether the order's state allows cancelling and resuming; rights are checked elsewhere."""
    order = found.order
    return {
        "can_cancel": bool(order and import_module("orders.cancellation").can_be_cancelled(order)),
        "can_resume": bool(order and import_module("orders.open_orders").can_be_resumed(order)),
    }


@require_safe
def saga_now(request: HttpRequest, order_id: int) -> HttpResponse:
    """The part of an order's saga that refreshes itself."""
    if not may_look(request, VIEW):
        return JsonResponse({}, status=HTTPStatus.FORBIDDEN)
    found = _saga(order_id)
    context = _told(request, found)
    status = found.order.status if found.order else None
    return fragment(request, "console/_saga.html", context, said=context["said"], ended=found.ended, status=status)


def _saga(order_id: int) -> sagas.Saga:
    found = sagas.look_up(order_id)
    if not found.exists:
        raise Http404
    return found


def _told(request: HttpRequest, found: sagas.Saga) -> dict[str, Any]:
    t = texts(language(request))
    waiting = t["ended_returning"] if found.returning else t["ended_waiting"]
    where = t["has_ended"] if found.ended else waiting if found.final else t["under_way"]
    return {
        "saga": found,
        "rows": list(found.rows()),
        "lanes": LANES,
        "total": money(found.order.total_price, found.order.currency) if found.order else "",
        "said": f"{found.order.get_status_display()} – {where}" if found.order else where,
        "pending": pending(found, t, recipients=may_look(request, VIEW_RECIPIENTS)),
        "may_pay": may_look(request, CHANGE),  # the page's address is all that one needs to pay there, or to give up
        "reason": words.reason(found.order.cancellation_reason) if found.order else "",
        "trace_url": f"{settings.LINKS['traces'].rstrip('/')}/traces/{found.trace}" if settings.LINKS["traces"] else "",
    }


@require_safe
@never_cache
def event(request: HttpRequest, order_id: int, event_id: UUID) -> HttpResponseBase:
    """One event of an order: its payload, and the errors of steps that could not handle it."""
    if not may_look(request, VIEW):
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    found = events.look_up(order_id, event_id)
    if found is None:
        raise Http404
    for letter in found.letters:
        letter.service = letter._meta.app_label
    payload = json.dumps(masked(found.payload), ensure_ascii=False, indent=2) if found.payload else ""
    context = {"event": found, "event_id": event_id, "order_id": order_id, "json": payload}
    return page(request, "console/event.html", context)


@never_cache
def orders(request: HttpRequest) -> HttpResponseBase:
    """The list of orders; a POST places one."""
    if request.method == "POST":
        return place_order(request)
    if not may_look(request, VIEW):
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    wanted = {name: request.GET.get(name, "").replace("\0", "") for name in ("q", "status", "progress", "before")}
    found = listed(wanted, know=may_look(request, VIEW_CUSTOMERS), phones=may_look(request, VIEW_PHONES))
    if wanted["q"].strip().isdecimal() and found.orders and len(found.orders) == 1:
        return redirect("saga", found.orders[0].pk)
    t = texts(language(request))
    kept = {name: value for name, value in wanted.items() if value and name != "before"}
    context = {
        "listed": found,
        "wanted": wanted,
        "progress": [("open", t["orders_unfinished"]), ("stalled", t["orders_stalled"]), ("ended", t["ended"])],
        "query": f"{urlencode(kept)}&" if kept else "",
    }
    return page(request, "console/orders.html", context)


@require_POST
def act(request: HttpRequest, order_id: int, action: str) -> HttpResponse:
    """Resume or cancel an order, for staff. The admin's log records who did."""
    if action not in ("resume", "cancel"):
        raise Http404
    if not may(request, CHANGE):
        return HttpResponse(status=HTTPStatus.FORBIDDEN)
    model, t = apps.get_model("orders", "Order"), texts(language(request))
    why = request.POST.get("why", "").strip()[:200]
    if action == "cancel" and not why:
        messages.error(request, t["say_why"])
        return redirect("saga", order_id)
    try:
        if action == "cancel":
            import_module("orders.cancellation").request_cancellation(order_id, reason=BY_STAFF)
        elif not import_module("orders.open_orders").rearm_open([order_id]):
            messages.warning(request, t["not_open"])
            return redirect("saga", order_id)
    except Problem as refused:
        messages.error(request, str(refused.detail))
    else:
        done = f"Cancellation asked for: {why}" if action == "cancel" else "Emitted again."
        admin.site.get_model_admin(model).log_change(request, model.objects.get(pk=order_id), done)
        messages.success(request, t["cancelling" if action == "cancel" else "resumed"])
    return redirect("saga", order_id)


@require_safe
@never_cache
def dead_letters(request: HttpRequest) -> HttpResponseBase:
    """The open dead letters of all services that the visitor may see."""
    if not may_look(request, OPERATE, *(f"{service}.view_deadletter" for service in local_services())):
        return redirect_to_login(request.get_full_path(), reverse("admin:login"))
    services = open_letters(visitor(request), see_all=settings.DEBUG)
    return page(request, "console/letters.html", {"services": services})


@never_cache
def fault_switches(request: HttpRequest) -> HttpResponse:
    """Show and set the fault switches."""
    _on_development_machines()
    t, refusal = texts(language(request)), ""
    if request.method == "POST":
        try:
            if "clear" in request.POST:
                faults.clear()
            else:
                faults.turn(request.POST.get("name", ""), float(request.POST.get("value") or 0))
            return redirect("faults")
        except ValueError as error:
            refusal = str(error)
        except faults.AWAY:
            refusal = t["cache_away"]
    now = faults.levels()
    switches = [
        {
            "name": name,
            "fault": one,
            "now": now.get(name, 0),
            "expect": getattr(one, language(request)),
            "unit": t[one.unit],
        }
        for name, one in faults.FAULTS.items()
    ]
    context = {"switches": switches, "minutes": ceil(faults.left() / 60), "any_on": bool(now), "refusal": refusal}
    return page(request, "console/faults.html", context, HTTPStatus.BAD_REQUEST if refusal else HTTPStatus.OK)


def _on_development_machines() -> None:
    if not settings.DEBUG:
        raise Http404

"""The pages of a payment: where customers come back to from a provider, and the sandbox gateways' own payment page.

Who comes back twice, by the back button or on another device, sees how the payment stands. The address of the page is
all that is needed: it is signed.
"""

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import override
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from payments import settling
from payments.gateways import pages
from payments.links import order_of
from payments.models import Payment, SandboxPage
from shop.languages import language
from shop.money import money

Status = Payment.Status
REFRESH = 3  # seconds, while something is about to happen
HELD, NOT_TAKEN = {Status.AUTHORIZED, Status.CAPTURING}, {Status.UNPAID, Status.WRITTEN_OFF}
UNDONE = {Status.REFUNDING, Status.REFUNDED, Status.VOIDED}
TEXTS = {
    "en": {
        "unknown": "There is no such payment",
        "open": "Your payment is being looked after",
        "waiting": "Order {order} waits for your payment",
        "paid": "Order {order} is paid",
        "held": "The payment for order {order} is confirmed",
        "not_taken": "The payment for order {order} could not be taken",
        "failed": "Order {order} was not paid",
        "undone": "Order {order} is cancelled",
        "amount": "{amount}, until {until}.",
        "again": "Place the order again if you still want it.",
        "back": "You may close this page.",
        "later": "The money is taken when your parcel is handed to the carrier.",
        "given_back": "What was taken is given back.",
        "pay_now": "Go on to pay",
        "sandbox": "Sandbox: pay for order {order}?",
        "no_money": "No money is moved here. {amount} to {gateway}.",
        "pay": "Pay",
        "transfer": "Make the transfer",
        "cancel": "Cancel",
        "bank": "Bank",
        "account": "Account",
        "holder": "Account holder",
    },
    "ko": {
        "unknown": "그런 결제가 없습니다",
        "open": "결제를 확인하고 있습니다",
        "waiting": "주문 {order}의 결제를 기다리고 있습니다",
        "paid": "주문 {order}이 결제되었습니다",
        "held": "주문 {order}의 결제가 확인되었습니다",
        "not_taken": "주문 {order}의 결제 금액을 받지 못했습니다",
        "failed": "주문 {order}이 결제되지 않았습니다",
        "undone": "주문 {order}이 취소되었습니다",
        "amount": "{amount}, {until}까지.",
        "again": "주문을 원하시면 다시 주문해 주십시오.",
        "back": "이 창을 닫아도 됩니다.",
        "later": "금액은 상품이 택배사에 인계될 때 결제됩니다.",
        "given_back": "결제된 금액은 환불됩니다.",
        "pay_now": "결제하러 가기",
        "sandbox": "샌드박스: 주문 {order}을 결제할까요?",
        "no_money": "여기서는 돈이 움직이지 않습니다. {gateway}에 {amount}.",
        "pay": "결제",
        "transfer": "입금",
        "cancel": "취소",
        "bank": "은행",
        "account": "계좌번호",
        "holder": "예금주",
    },
}


@never_cache
@require_http_methods(["GET", "HEAD"])
def come_back(request: HttpRequest, signed: str) -> HttpResponse:
    """A customer comes back from the provider's page. What they bring is taken in, and taken out of the address."""
    order_id = order_of(signed)
    payment = Payment.objects.filter(order_id=order_id).exclude(gateway="").first() if order_id else None
    if payment is None:
        return _page(request, {"title": "unknown"}, status=404)
    brought = {name: str(value) for name, value in request.GET.items() if name != "lang"}
    if brought and request.method == "GET":
        settling.come_back(payment.order_id, brought)
        return HttpResponseRedirect(request.path)
    return _page(request, _standing(payment, language(request)), order=payment.order_id)


@never_cache
@csrf_exempt  # whoever has the address may decide
@require_http_methods(["GET", "HEAD", "POST"])
def sandbox(request: HttpRequest, signed: str) -> HttpResponse:
    """The sandbox gateways' payment page: pay, or give up."""
    order_id = order_of(signed)
    payment = Payment.objects.filter(order_id=order_id).first() if order_id and settings.SANDBOX else None
    page = payment and SandboxPage.objects.filter(gateway=payment.gateway, payment=payment.idempotency_key).first()
    if not payment or not page:
        return _page(request, {"title": "unknown"}, status=404)
    back = request.path.replace("/sandbox/", "/return/")
    if request.method == "POST":
        paid = request.POST.get("decision") == "pay"
        pages.decide(page.gateway, page.payment, paid=paid)
        return HttpResponseRedirect(f"{back}?outcome={'paid' if paid else 'cancelled'}")
    if page.decision != SandboxPage.Decision.OPEN:
        return HttpResponseRedirect(f"{back}?outcome=decided")
    texts = TEXTS[language(request)]
    asked = texts["no_money"].format(amount=money(page.amount, page.currency), gateway=page.gateway)
    buttons = [("pay", texts["transfer" if page.deposit else "pay"]), ("cancel", texts["cancel"])]
    return _page(request, {"title": "sandbox", "lines": [asked], "buttons": buttons}, order=payment.order_id)


def _standing(payment: Payment, lang: str) -> dict[str, Any]:
    """How a payment stands, for its customer."""
    texts = TEXTS[lang]
    if payment.status == Status.COMPLETED:
        return {"title": "paid", "lines": [texts["back"]]}
    if payment.status in HELD:
        return {"title": "held", "lines": [texts["later"], texts["back"]]}
    if payment.status in NOT_TAKEN:
        return {"title": "not_taken"}
    if payment.status in UNDONE:
        return {"title": "undone", "lines": [texts["given_back"]] if payment.captured else []}
    if payment.status == Status.FAILED:
        return {"title": "failed", "lines": [texts["again"]]}
    if payment.status == Status.WAITING and not payment.attempts:
        return _waiting(payment, lang)
    return {"title": "open", "refresh": REFRESH}  # the gateway is to answer


def _waiting(payment: Payment, lang: str) -> dict[str, Any]:
    """Where its customer pays, or to which account, and until when."""
    texts = TEXTS[lang]
    details = dict(payment.action_details or {})
    url = details.pop("url", "") or payment.action_url
    with override(lang):
        until = date_format(localtime(payment.action_until), "DATETIME_FORMAT")
    shown = {
        "title": "waiting",
        "lines": [texts["amount"].format(amount=money(payment.amount, payment.currency), until=until)],
        "details": [(texts.get(name, name), value) for name, value in details.items()],
        "refresh": REFRESH * 10,
    }
    return shown | ({"link": (url, texts["pay_now"])} if urlsplit(url).scheme in ("http", "https") else {})


def _page(request: HttpRequest, shown: dict[str, Any], *, order: int = 0, status: int = 200) -> HttpResponse:
    lang = language(request)
    title = TEXTS[lang][shown["title"]].format(order=order)
    static = settings.STATIC_URL.lstrip("/")
    text = render_to_string("payments/page.html", {**shown, "title": title, "lang": lang, "static": static})
    return HttpResponse(text, status=status)

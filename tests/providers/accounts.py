"""An account at each provider's stand-in, with the adapter that asks it, and what a customer does there."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

from lab.providers import kakao, naver, stripe, toss
from lab.providers.server import StandIn
from payments.gateways import (
    ActionRequired,
    Authorization,
    Authorized,
    Captured,
    Operation,
    PaymentGateway,
    Return,
)
from payments.gateways.kakao import KakaoGateway
from payments.gateways.naver import NaverGateway
from payments.gateways.stripe import StripeGateway
from payments.gateways.toss import TossGateway
from payments.models import Payment, PaymentOperation

RETURN_URL = "http://127.0.0.1:9/return/signed?order=7"
FAST = {"stall": "1", "patience": "5", "timeout": "5", "concurrency": "16"}  # what hangs is given up soon
AMOUNT, CURRENCY = 33_000, "KRW"


@dataclass
class Account:
    """`token` pays at once, "" where only the provider's page does; `declined` never pays.

    `looks_up`: whether the provider finds a payment by our name for it. `tells`: whether it sends notifications.
    `lists`: whether it lists the movements of a day. `needs_return`: whether who pays and closes the window before
    coming back has not paid. `reopens`: whether who cancels on its page, or is declined, can still pay there.
    """

    gateway: Any
    stand_in: StandIn
    token: str
    declined: str
    stranger: Callable[[], PaymentGateway]  # somebody whose key the provider does not know
    looks_up: bool = True
    tells: bool = True
    lists: bool = True
    needs_return: bool = False
    reopens: bool = False

    def authorization(self, number: int = 1, *, capture: bool = False, **changes: Any) -> Authorization:
        """The request for payment `number`."""
        given = {"token": self.token, "return_url": lambda: RETURN_URL} | changes
        payment = f"order-{number}-a1b2c3"
        return Authorization(
            key=payment, payment=payment, order_id=number, amount=AMOUNT, currency=CURRENCY, capture=capture, **given
        )

    def paid(self, number: int = 1, *, capture: bool = False) -> str:
        """Have a payment paid, as far as its customer does that; its reference."""
        request = self.authorization(number, capture=capture)
        (answer,) = self.gateway.authorize([request])
        if isinstance(answer, ActionRequired):
            (answer,) = self.gateway.confirm([self.came_back(request, answer)])
        assert isinstance(answer, Authorized | Captured), answer
        return answer.reference

    def came_back(self, request: Authorization, action: ActionRequired, click: str = "pay") -> Return:
        """The customer goes to the provider's page, clicks, and is sent back."""
        return self.waiting(request, action, clicked(action.url, click))

    def waiting(self, request: Authorization, action: ActionRequired, brought: dict[str, str] | None = None) -> Return:
        """What the timer asks about a payment whose customer has not come back, or has `brought` this query."""
        return Return(
            key=request.key, payment=request.payment, reference=action.reference, amount=request.amount,
            currency=request.currency, capture=request.capture, parameters=brought or {},
        )  # fmt: skip

    def operation(self, reference: str, key: str = "key", number: int = 1, amount: int = AMOUNT) -> Operation:
        return Operation(
            key=key, payment=f"order-{number}-a1b2c3", reference=reference, amount=amount, currency=CURRENCY,
            reason="changed my mind",
        )  # fmt: skip

    def booked(self, number: int = 1) -> list[tuple[str, int]]:
        """What the provider's own books say of a payment: kinds and amounts."""
        return [(one.kind, one.amount) for one in self.stand_in.books.entries(f"order-{number}-a1b2c3")]


def clicked(url: str, button: str) -> dict[str, str]:
    """Open a page of the stand-in, press a button; the query with which the browser then comes back."""
    shown = httpx.get(url)
    assert shown.status_code == 200
    assert f'value="{button}"' in shown.text, shown.text
    sent = httpx.post(url, data={"action": button})
    assert sent.status_code == 303, sent.text
    assert sent.headers["Location"].startswith(RETURN_URL.partition("?")[0])
    return dict(parse_qsl(urlsplit(sent.headers["Location"]).query))


def declined(url: str) -> None:
    """Open a page of the stand-in, and pay with a card that is declined. The page stays open for another."""
    sent = httpx.post(url, data={"action": "decline"})
    assert (sent.status_code, sent.headers["Location"]) == (303, url)


def entered(account: Account, number: int, reference: str = "", amount: int = AMOUNT) -> Payment:
    """A payment in our ledger that was charged just now."""
    payment = Payment.objects.create(
        order_id=number, idempotency_key=f"order-{number}-a1b2c3", gateway=account.gateway.name, reference=reference,
        amount=amount, currency=CURRENCY, authorized=amount, captured=amount, status="COMPLETED",
    )  # fmt: skip
    operation(payment, "CHARGE", amount)
    return payment


def operation(payment: Payment, kind: str, amount: int) -> None:
    """An entry of our ledger that has succeeded just now."""
    now = datetime.now().astimezone()
    PaymentOperation.objects.create(
        payment=payment, kind=kind, key=f"{kind}-{payment.order_id}", amount=amount, currency=CURRENCY,
        outcome="SUCCEEDED", at=now, settled_at=now,
    )  # fmt: skip


@contextmanager
def stripe_account() -> Iterator[Account]:
    with stripe.Stripe() as stand_in:
        options = {"webhook_secret": stripe.WEBHOOK_SECRET, "url": stand_in.url, **FAST}
        gateway = StripeGateway("STRIPE", options | {"secret_key": stripe.SECRET_KEY})
        yield Account(
            gateway,
            stand_in,
            token="pm_card_visa",
            declined="pm_card_visa_chargeDeclined",
            stranger=lambda: StripeGateway("STRANGER", options | {"secret_key": "sk_test_other"}),
            reopens=True,
        )
        stand_in.faults.released.set()
        gateway.provider.close()


@contextmanager
def toss_account() -> Iterator[Account]:
    with toss.Toss() as stand_in:
        options = {"url": stand_in.url, **FAST}
        gateway = TossGateway("TOSS", options | {"secret_key": toss.SECRET_KEY})
        stranger = lambda: TossGateway("STRANGER", options | {"secret_key": "test_sk_other"})  # noqa: E731
        yield Account(gateway, stand_in, token="", declined="", stranger=stranger)
        stand_in.faults.released.set()
        gateway.provider.close()


@contextmanager
def kakao_account() -> Iterator[Account]:
    with kakao.Kakao() as stand_in:
        options = {"url": stand_in.url, "cid": kakao.CID, **FAST}
        gateway = KakaoGateway("KAKAO", options | {"secret_key": kakao.SECRET_KEY})
        stranger = lambda: KakaoGateway("STRANGER", options | {"secret_key": "DEV_other"})  # noqa: E731
        yield Account(
            gateway, stand_in, token="", declined="", stranger=stranger, looks_up=False, tells=False, lists=False,
            needs_return=True,
        )  # fmt: skip
        stand_in.faults.released.set()
        gateway.provider.close()


@contextmanager
def naver_account() -> Iterator[Account]:
    with naver.Naver() as stand_in:
        options = {"url": stand_in.url, "client_id": naver.CLIENT_ID, "chain_id": naver.CHAIN_ID, **FAST}
        gateway = NaverGateway("NAVER", options | {"client_secret": naver.CLIENT_SECRET})
        stranger = lambda: NaverGateway("STRANGER", options | {"client_secret": "other"})  # noqa: E731
        yield Account(
            gateway, stand_in, token="", declined="", stranger=stranger, looks_up=False, tells=False, needs_return=True
        )
        stand_in.faults.released.set()
        gateway.provider.close()


ACCOUNTS: dict[str, Callable[[], AbstractContextManager[Account]]] = {
    "kakao": kakao_account,
    "naver": naver_account,
    "stripe": stripe_account,
    "toss": toss_account,
}

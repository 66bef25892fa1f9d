"""The sandbox gateways: each token, each way to fail. What every gateway does is in `test_conformance.py`."""

import pytest

from payments.gateways import (
    Authorization,
    Captured,
    Declined,
    Done,
    Lookup,
    NotFound,
    Operation,
    PaymentGateway,
    Refused,
    State,
    Unknown,
    UnknownGateway,
    gateway,
)
from payments.gateways.sandbox import SandboxGateway
from payments.models import GatewayLedger, SandboxSwitch
from sagas import Unavailable
from shop.contracts.payments import GATEWAYS

pytestmark = pytest.mark.django_db(databases=["payments"])

TOSS: PaymentGateway = SandboxGateway("TOSS_PAYMENTS")
TIMED_OUT = Unknown("timed out")
CHARGED = Captured("sandbox-order-1")
REFUNDED = Done("sandbox-order-1")
TOO_MUCH = Refused("not so much can be moved: refund 33000")


def request(token: str, name: str = "order-1", *, capture: bool = True) -> Authorization:
    return Authorization(
        key=name, payment=name, order_id=1, amount=33_000, currency="KRW", token=token, capture=capture
    )


def refund(name: str = "order-1", key: str = "", amount: int = 33_000) -> Operation:
    return Operation(key=key or f"{name}-undo", payment=name, reference="", amount=amount, currency="KRW")


def found(name: str = "order-1", gateway: PaymentGateway = TOSS):
    return gateway.find([Lookup(name, "")])[0]


def entries() -> list[tuple]:
    return list(GatewayLedger.objects.order_by("pk").values_list("gateway", "payment", "kind", "amount", "currency"))


CHARGE = ("TOSS_PAYMENTS", "order-1", "CHARGE", 33_000, "KRW")
REFUND = ("TOSS_PAYMENTS", "order-1", "REFUND", 33_000, "KRW")


@pytest.mark.parametrize(
    ("token", "answers", "ledger"),
    [
        ("tok_ok", [CHARGED, CHARGED], [CHARGE]),
        ("tok_declined", [Declined("PAY002: declined")] * 2, []),
        ("tok_insufficient_funds", [Declined("PAY002: insufficient funds")] * 2, []),
        ("tok_anything_else", [Declined("PAY002: unknown token")] * 2, []),
        ("", [Declined("PAY002: unknown token")] * 2, []),
        ("tok_timeout_charged", [TIMED_OUT, CHARGED, CHARGED], [CHARGE]),
        ("tok_timeout_not_charged", [TIMED_OUT, CHARGED, CHARGED], [CHARGE]),
        ("tok_flaky_3", [TIMED_OUT, TIMED_OUT, TIMED_OUT, CHARGED], [CHARGE]),
    ],
)
def test_what_a_token_does_each_time_it_is_asked(token, answers, ledger):
    assert [TOSS.authorize([request(token)])[0] for _ in answers] == answers
    assert entries() == ledger


@pytest.mark.parametrize(
    ("token", "state"),
    [("tok_timeout_charged", State("sandbox-order-1", 33_000, 33_000, 0)), ("tok_timeout_not_charged", NotFound())],
)
def test_what_a_timeout_leaves_behind(token, state):
    assert TOSS.authorize([request(token)]) == [TIMED_OUT]
    assert found() == state


def test_a_slow_token_makes_nobody_wait_where_customers_share_a_worker(settings):
    settings.DEBUG = False
    pauses: list[float] = []
    assert SandboxGateway("TOSS_PAYMENTS", pause=pauses.append).authorize([request("tok_slow_2s")]) == [CHARGED]
    assert pauses == []


def test_without_the_sandbox_nothing_is_charged_for_and_what_was_is_refunded(settings):
    TOSS.authorize([request("tok_ok")])
    settings.SANDBOX = False
    assert TOSS.authorize([request("tok_ok", "order-2")]) == [Declined("PAY002: no payment gateway is connected")]
    assert TOSS.refund([refund(), refund("order-2")]) == [REFUNDED, TOO_MUCH]


def test_a_slow_token_makes_the_whole_batch_wait_once(settings):
    settings.DEBUG = True
    pauses: list[float] = []
    slow = SandboxGateway("TOSS_PAYMENTS", pause=pauses.append)
    batch = [request("tok_slow_2s", "order-1"), request("tok_ok", "order-2"), request("tok_slow_2s", "order-3")]
    assert slow.authorize(batch) == [Captured(f"sandbox-order-{n}") for n in (1, 2, 3)]
    assert pauses == [2.0]
    assert slow.authorize(batch[1:2]) == [Captured("sandbox-order-2")]
    assert pauses == [2.0]


def test_refunding_gives_back_what_was_charged_once():
    TOSS.authorize([request("tok_ok")])
    assert TOSS.refund([refund(), refund("order-2")]) == [REFUNDED, TOO_MUCH]
    assert TOSS.refund([refund()]) == [REFUNDED]
    assert TOSS.refund([refund(key="another", amount=1)]) == [Refused("not so much can be moved: refund 1")]
    assert entries() == [CHARGE, REFUND]


def test_charging_again_after_the_refund_takes_nothing():
    TOSS.authorize([request("tok_ok")])
    TOSS.refund([refund()])
    assert TOSS.authorize([request("tok_ok")]) == [CHARGED]
    assert entries() == [CHARGE, REFUND]


def test_gateways_know_nothing_of_each_other():
    gateway("KAKAO_PAY").authorize([request("tok_ok")])
    naver = gateway("NAVER_PAY")
    assert naver.find([Lookup("order-1", "")]) == [NotFound()]
    assert naver.refund([refund()]) == [TOO_MUCH]
    assert gateway("KAKAO_PAY").find([Lookup("order-1", "")]) == [State("sandbox-order-1", 33_000, 33_000, 0)]


def test_every_gateway_of_the_contract_exists_and_no_other():
    assert GATEWAYS == ("TOSS_PAYMENTS", "KAKAO_PAY", "NAVER_PAY")
    assert [gateway(name) for name in GATEWAYS] == [SandboxGateway(name) for name in GATEWAYS]
    with pytest.raises(UnknownGateway, match="'PAYPAL'"):
        gateway("PAYPAL")


def test_a_gateway_that_is_away_answers_nothing_and_does_nothing():
    SandboxSwitch.objects.create(gateway="TOSS_PAYMENTS", away=True)
    for call in (
        lambda: TOSS.authorize([request("tok_ok")]),
        lambda: TOSS.capture([refund()]),
        lambda: TOSS.refund([refund()]),
        lambda: TOSS.find([Lookup("order-1", "")]),
    ):
        with pytest.raises(Unavailable, match="TOSS_PAYMENTS is away"):
            call()
    assert entries() == []
    assert gateway("KAKAO_PAY").authorize([request("tok_ok")]) == [CHARGED]
    SandboxSwitch.objects.update(away=False)
    assert TOSS.authorize([request("tok_ok")]) == [CHARGED]


def test_the_failure_rate_loses_requests_and_answers_and_asking_again_gets_through(settings):
    settings.GATEWAY_FAILURE_RATES = {"TOSS_PAYMENTS": 0.3}
    requests = [request("tok_ok", f"order-{number}") for number in range(500)]
    lost = [one for one, answer in zip(requests, TOSS.authorize(requests), strict=True) if answer == TIMED_OUT]
    assert 100 < len(lost) < 200
    charged_unheard = GatewayLedger.objects.filter(payment__in=[one.payment for one in lost]).count()
    assert 25 < charged_unheard < len(lost) - 25
    for _ in range(20):
        lost = [one for one, answer in zip(lost, TOSS.authorize(lost), strict=True) if answer == TIMED_OUT]
    assert lost == []
    assert GatewayLedger.objects.filter(kind="CHARGE").count() == 500


def test_a_failure_rate_of_one_loses_everything_of_that_gateway_alone(settings):
    settings.GATEWAY_FAILURE_RATES = {"TOSS_PAYMENTS": 1.0}
    assert TOSS.authorize([request("tok_ok")]) == [TIMED_OUT]
    assert TOSS.refund([refund()]) == [TIMED_OUT]
    assert found() == TIMED_OUT
    assert gateway("NAVER_PAY").authorize([request("tok_ok")]) == [CHARGED]


@pytest.mark.parametrize("answer", [Declined, Refused])
def test_a_refusal_says_why(answer):
    with pytest.raises(ValueError, match="why"):
        answer("")

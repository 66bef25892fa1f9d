"""The sandbox gateways: each token, each way to fail."""

import pytest

from payments.gateways import (
    Charged,
    ChargeRequest,
    Declined,
    NotCharged,
    Refunded,
    Unknown,
    UnknownGateway,
    gateway,
)
from payments.gateways.sandbox import SandboxGateway
from payments.models import GatewayLedger, SandboxSwitch
from sagas import Unavailable
from shop.contracts.payments import GATEWAYS

pytestmark = pytest.mark.django_db(databases=["payments"])

TOSS = SandboxGateway("TOSS_PAYMENTS")
TIMED_OUT = Unknown("timed out")


def request(token: str, key: str = "order-1") -> ChargeRequest:
    return ChargeRequest(key=key, amount=33_000, currency="KRW", token=token)


def entries() -> list[tuple]:
    return list(GatewayLedger.objects.order_by("pk").values_list("gateway", "key", "kind", "amount", "currency"))


CHARGE = ("TOSS_PAYMENTS", "order-1", "CHARGE", 33_000, "KRW")
REFUND = ("TOSS_PAYMENTS", "order-1", "REFUND", 33_000, "KRW")


@pytest.mark.parametrize(
    ("token", "answers", "ledger"),
    [
        ("tok_ok", [Charged(), Charged()], [CHARGE]),
        ("tok_declined", [Declined("PAY002: declined")] * 2, []),
        ("tok_insufficient_funds", [Declined("PAY002: insufficient funds")] * 2, []),
        ("tok_anything_else", [Declined("PAY002: unknown token")] * 2, []),
        ("", [Declined("PAY002: unknown token")] * 2, []),
        ("tok_timeout_charged", [TIMED_OUT, Charged(), Charged()], [CHARGE]),
        ("tok_timeout_not_charged", [TIMED_OUT, Charged(), Charged()], [CHARGE]),
        ("tok_flaky_3", [TIMED_OUT, TIMED_OUT, TIMED_OUT, Charged()], [CHARGE]),
    ],
)
def test_what_a_token_does_each_time_it_is_asked(token, answers, ledger):
    assert [TOSS.charge([request(token)])[0] for _ in answers] == answers
    assert entries() == ledger


@pytest.mark.parametrize(
    ("token", "found"), [("tok_timeout_charged", Charged()), ("tok_timeout_not_charged", NotCharged())]
)
def test_what_a_timeout_leaves_behind(token, found):
    assert TOSS.charge([request(token)]) == [TIMED_OUT]
    assert TOSS.find(["order-1"]) == [found]


def test_a_slow_token_makes_nobody_wait_where_customers_share_a_worker(settings):
    settings.DEBUG = False
    pauses: list[float] = []
    assert SandboxGateway("TOSS_PAYMENTS", pause=pauses.append).charge([request("tok_slow_2s")]) == [Charged()]
    assert pauses == []


def test_without_the_sandbox_nothing_is_charged_for_and_what_was_is_refunded(settings):
    TOSS.charge([request("tok_ok")])
    settings.SANDBOX = False
    assert TOSS.charge([request("tok_ok", "order-2")]) == [Declined("PAY002: no payment gateway is connected")]
    assert TOSS.refund(["order-1", "order-2"]) == [Refunded(), NotCharged()]


def test_a_slow_token_makes_the_whole_batch_wait_once(settings):
    settings.DEBUG = True
    pauses: list[float] = []
    slow = SandboxGateway("TOSS_PAYMENTS", pause=pauses.append)
    batch = [request("tok_slow_2s", "order-1"), request("tok_ok", "order-2"), request("tok_slow_2s", "order-3")]
    assert slow.charge(batch) == [Charged()] * 3
    assert pauses == [2.0]
    assert slow.charge(batch[1:2]) == [Charged()]
    assert pauses == [2.0]


def test_refunding_gives_back_what_was_charged_once():
    TOSS.charge([request("tok_ok")])
    assert TOSS.refund(["order-1", "order-2"]) == [Refunded(), NotCharged()]
    assert TOSS.refund(["order-1"]) == [Refunded()]
    assert entries() == [CHARGE, REFUND]


def test_charging_again_after_the_refund_takes_nothing():
    TOSS.charge([request("tok_ok")])
    TOSS.refund(["order-1"])
    assert TOSS.charge([request("tok_ok")]) == [Charged()]
    assert entries() == [CHARGE, REFUND]


def test_finding_tells_what_has_happened():
    TOSS.charge([request("tok_ok", "order-1"), request("tok_ok", "order-2"), request("tok_declined", "order-3")])
    TOSS.refund(["order-2"])
    assert TOSS.find(["order-1", "order-2", "order-3"]) == [Charged(), Refunded(), NotCharged()]


def test_gateways_know_nothing_of_each_other():
    gateway("KAKAO_PAY").charge([request("tok_ok")])
    assert gateway("NAVER_PAY").find(["order-1"]) == [NotCharged()]
    assert gateway("NAVER_PAY").refund(["order-1"]) == [NotCharged()]
    assert gateway("KAKAO_PAY").find(["order-1"]) == [Charged()]


def test_every_gateway_of_the_contract_exists_and_no_other():
    assert GATEWAYS == ("TOSS_PAYMENTS", "KAKAO_PAY", "NAVER_PAY")
    assert [gateway(name) for name in GATEWAYS] == [SandboxGateway(name) for name in GATEWAYS]
    with pytest.raises(UnknownGateway, match="'PAYPAL'"):
        gateway("PAYPAL")


def test_a_gateway_that_is_away_answers_nothing_and_does_nothing():
    SandboxSwitch.objects.create(gateway="TOSS_PAYMENTS", away=True)
    for call in (
        lambda: TOSS.charge([request("tok_ok")]),
        lambda: TOSS.refund(["order-1"]),
        lambda: TOSS.find(["order-1"]),
    ):
        with pytest.raises(Unavailable, match="TOSS_PAYMENTS is away"):
            call()
    assert entries() == []
    assert gateway("KAKAO_PAY").charge([request("tok_ok")]) == [Charged()]
    SandboxSwitch.objects.update(away=False)
    assert TOSS.charge([request("tok_ok")]) == [Charged()]


def test_the_failure_rate_loses_requests_and_answers_and_asking_again_gets_through(settings):
    settings.GATEWAY_FAILURE_RATES = {"TOSS_PAYMENTS": 0.3}
    requests = [request("tok_ok", f"order-{number}") for number in range(500)]
    lost = [one for one, answer in zip(requests, TOSS.charge(requests), strict=True) if answer == TIMED_OUT]
    assert 100 < len(lost) < 200
    charged_unheard = GatewayLedger.objects.filter(key__in=[one.key for one in lost]).count()
    assert 25 < charged_unheard < len(lost) - 25
    for _ in range(20):
        lost = [one for one, answer in zip(lost, TOSS.charge(lost), strict=True) if answer == TIMED_OUT]
    assert lost == []
    assert GatewayLedger.objects.filter(kind="CHARGE").count() == 500


def test_a_failure_rate_of_one_loses_everything_of_that_gateway_alone(settings):
    settings.GATEWAY_FAILURE_RATES = {"TOSS_PAYMENTS": 1.0}
    assert TOSS.charge([request("tok_ok")]) == [TIMED_OUT]
    assert TOSS.refund(["order-1"]) == [TIMED_OUT]
    assert TOSS.find(["order-1"]) == [TIMED_OUT]
    assert gateway("NAVER_PAY").charge([request("tok_ok")]) == [Charged()]

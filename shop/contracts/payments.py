"""The gateway adapters that exist. `settings.PAYMENT_GATEWAYS` says which gateways are configured."""

from collections.abc import Mapping
from typing import NamedTuple


class Adapter(NamedTuple):
    """A kind of gateway: its class in payments, and whether an order needs a token to be paid with it."""

    path: str
    needs_token: bool  # else the customer may be sent to a page of the provider
    wants: tuple[str, ...] = ()  # required options
    test_mode: Mapping[str, str] = {}  # prefixes of options for which no money is taken


ADAPTERS: dict[str, Adapter] = {
    "sandbox": Adapter("payments.gateways.sandbox.SandboxGateway", needs_token=True),
    "kakao": Adapter(
        "payments.gateways.kakao.KakaoGateway",
        needs_token=False,
        wants=("secret_key", "cid"),
        test_mode={"secret_key": "DEV", "cid": "TC0ONETIME"},  # nosec B105
    ),
    "naver": Adapter(
        "payments.gateways.naver.NaverGateway",
        needs_token=False,
        wants=("client_id", "client_secret", "chain_id"),
        test_mode={"mode": "development"},
    ),
    "stripe": Adapter(
        "payments.gateways.stripe.StripeGateway",
        needs_token=False,
        wants=("secret_key", "webhook_secret"),
        test_mode={"secret_key": "sk_test_"},  # nosec B105
    ),
    "toss": Adapter(
        "payments.gateways.toss.TossGateway",
        needs_token=False,
        wants=("secret_key",),
        test_mode={"secret_key": "test_"},  # nosec B105
    ),
}
# The options of the laboratory's stand-ins; none of them is secret.
STAND_IN_OPTIONS: dict[str, dict[str, str]] = {
    "kakao": {"secret_key": "DEV_stand_in", "cid": "TC0ONETIME"},  # nosec B105
    "naver": {
        "client_id": "stand_in",
        "client_secret": "stand_in_secret",  # nosec B105
        "chain_id": "stand_in_chain",
        "mode": "development",
    },
    "stripe": {"secret_key": "sk_test_stand_in", "webhook_secret": "whsec_of_the_stand_in_which_is_no_secret"},  # nosec B105
    "toss": {"secret_key": "test_sk_stand_in"},  # nosec B105
}
AT_ONCE, AT_HAND_OVER = CAPTURES = ("at_once", "at_hand_over")  # when money is taken: `settings.PAYMENT_CAPTURE`
GATEWAYS: tuple[str, ...] = ("TOSS_PAYMENTS", "KAKAO_PAY", "NAVER_PAY")  # the sandboxes, unless others are configured


class Configured(NamedTuple):
    """A gateway that customers can choose: its adapter, and the adapter's options ({"secret_key": …})."""

    adapter: str
    options: Mapping[str, str]

    @property
    def needs_token(self) -> bool:
        """Whether an order needs a token to be paid with it."""
        return ADAPTERS[self.adapter].needs_token


CHANGE = "-change-"  # in the key of an operation that follows from a change of its order; the change's id comes next

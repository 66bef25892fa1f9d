"""The stand-ins of a shop: one for each configured provider whose `url` is on this machine."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from django.conf import settings

from lab.providers.kakao import Kakao
from lab.providers.naver import Naver
from lab.providers.postmark import Postmark
from lab.providers.server import (
    FAIL_AFTER,
    FAIL_BEFORE,
    LOSE_ANSWER,
    LOSE_REQUEST,
    MALFORMED,
    SLOW,
    TOO_MANY,
    StandIn,
)
from lab.providers.solapi import Solapi
from lab.providers.stripe import Stripe
from lab.providers.toss import Toss

STAND_INS: dict[str, type[StandIn]] = {
    "kakao": Kakao,
    "naver": Naver,
    "postmark": Postmark,
    "solapi": Solapi,
    "stripe": Stripe,
    "toss": Toss,
}
HERE = ("127.0.0.1", "localhost")
TROUBLES = (LOSE_REQUEST, LOSE_ANSWER, FAIL_BEFORE, FAIL_AFTER, TOO_MANY, MALFORMED, SLOW)


class Wanted(NamedTuple):
    """A stand-in, the port in the provider's `url`, and the path for its notifications."""

    kind: type[StandIn]
    port: int
    notify: str


def wanted() -> dict[str, Wanted]:
    """Return the stand-ins, by the name of the gateway or service."""
    providers = [
        (name, one.adapter, one.options.get("url", ""), f"payments/notifications/{name}")
        for name, one in settings.PAYMENT_GATEWAYS.items()
    ]
    mail, sms = settings.EMAIL_SERVICE, settings.SMS_SERVICE
    providers += [(mail, mail, settings.ANYMAIL.get(f"{mail}_API_URL".upper(), ""), "notifications/email-events")]
    providers += [(sms, sms, settings.SMS_OPTIONS.get("url", ""), "")]
    found = {}
    for name, adapter, url, notify in providers:
        address = urlsplit(url)
        if adapter in STAND_INS and address.hostname in HERE and address.port:
            told = f"http://127.0.0.1:{settings.PORT}/api/v1/{notify}" if notify else ""
            found[name] = Wanted(STAND_INS[adapter], address.port, told)
    return found


@contextmanager
def stand_ins(
    directory: Path, *, latency: float = 0.0, only: str = "", trouble: float = 0.0
) -> Iterator[dict[str, StandIn]]:
    """Serve the stand-ins, or the one that `only` names; yield them by name. Their books are in `directory`, and
    survive a restart; notifications go to this shop's webhooks. So many requests of one are in `trouble`, each in one
    of TROUBLES. Raises OSError if a port is taken."""
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        serving = {}
        for name, (kind, port, notify) in wanted().items():
            if only not in ("", name):
                continue
            made = kind(port=port, path=directory / f"{name}.sqlite3", notify=notify, latency=latency)
            made.faults.rates = dict.fromkeys(TROUBLES, trouble / len(TROUBLES)) if trouble else {}
            serving[name] = stack.enter_context(made)
        yield serving

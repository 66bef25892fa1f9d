"""The stand-ins of a shop: one for each configured gateway whose `url` is on this machine."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings

from lab.providers.kakao import Kakao
from lab.providers.server import StandIn
from lab.providers.stripe import Stripe
from lab.providers.toss import Toss

STAND_INS: dict[str, type[StandIn]] = {"kakao": Kakao, "stripe": Stripe, "toss": Toss}
HERE = ("127.0.0.1", "localhost")


def wanted() -> dict[str, tuple[type[StandIn], int]]:
    """By gateway, its stand-in and the port that its `url` names."""
    found = {}
    for name, configured in settings.PAYMENT_GATEWAYS.items():
        address = urlsplit(configured.options.get("url", ""))
        if configured.adapter in STAND_INS and address.hostname in HERE and address.port:
            found[name] = STAND_INS[configured.adapter], address.port
    return found


@contextmanager
def stand_ins(directory: Path, *, latency: float = 0.0) -> Iterator[dict[str, StandIn]]:
    """Serve them, by gateway. Their books are in `directory`, where a restart finds them; what happens is told to this
    shop's webhooks. Raises OSError where a port is taken."""
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        serving = {}
        for name, (kind, port) in wanted().items():
            notify = f"http://127.0.0.1:{settings.PORT}/api/v1/payments/notifications/{name}"
            made = kind(port=port, path=directory / f"{name}.sqlite3", notify=notify, latency=latency)
            serving[name] = stack.enter_context(made)
        yield serving

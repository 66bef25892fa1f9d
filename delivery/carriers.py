"""The carriers, and which of them takes an order's parcel. Those here are a sandbox: they refuse as an address asks."""

from shop.contracts import reasons

CARRIERS = (
    ("CJ대한통운", "CJ"),
    ("한진택배", "HJ"),
    ("로젠택배", "LG"),
    ("우체국택배", "EP"),
)  # each with the prefix of its tracking numbers

# Words in an address that make a delivery fail, to try out what happens then.
REFUSED_BY_CARRIER, CARRIER_REFUSAL = "addr_refused_by_carrier", f"{reasons.REFUSED_BY_CARRIER} (인수 거부)"
REFUSED_BY_RECIPIENT, RECIPIENT_REFUSAL = "addr_refused_by_recipient", f"{reasons.REFUSED_BY_RECIPIENT} (수령 거부)"


NAMES = {code: name for name, code in CARRIERS}


def carrier_of(order_id: int) -> tuple[str, str]:
    """The name and prefix of the carrier that takes an order's parcel."""
    return CARRIERS[order_id % len(CARRIERS)]

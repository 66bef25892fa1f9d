"""The carriers that there can be. Which there are, by name, is for `settings.CARRIERS` to say."""

from collections.abc import Mapping
from typing import NamedTuple


class Adapter(NamedTuple):
    """A kind of carrier: its class in delivery, and the options that it cannot do without."""

    path: str
    required: tuple[str, ...] = ()
    test_mode: Mapping[str, str] = {}  # how options begin with which nothing is delivered


ADAPTERS: dict[str, Adapter] = {
    "sandbox": Adapter("delivery.carriers.sandbox.Sandbox"),
    "numbered": Adapter("delivery.carriers.numbered.Numbered"),
    "easypost": Adapter("delivery.carriers.easypost.EasyPost", ("api_key", "sender", "weight"), {"api_key": "EZTK"}),
}
SANDBOXES: tuple[str, ...] = (
    "CJ",
    "HJ",
    "LG",
    "EP",
)  # which take the parcels with SANDBOX=1


class ConfiguredCarrier(NamedTuple):
    """A carrier that takes parcels: which adapter it has, and its options ({"api_key": …})."""

    adapter: str
    options: Mapping[str, str]

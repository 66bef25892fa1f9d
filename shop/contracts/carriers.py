"""The carrier adapters that exist. `settings.CARRIERS` says which carriers are configured."""

from collections.abc import Mapping
from typing import NamedTuple


class Adapter(NamedTuple):
    """A kind of carrier: its class in delivery, and its required options."""

    path: str
    required: tuple[str, ...] = ()
    test_mode: Mapping[str, str] = {}  # prefixes of options for which nothing is delivered


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
)  # the carriers with SANDBOX=1, unless others are configured


class ConfiguredCarrier(NamedTuple):
    """A configured carrier: its adapter, and the adapter's options ({"api_key": …})."""

    adapter: str
    options: Mapping[str, str]

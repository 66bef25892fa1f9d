"""Asking a payment provider over HTTP: `providers`, with the payment port's answer for what did not come."""

import providers
from payments.gateways.base import Unknown
from providers import Limits, NoAnswer, TooMany, check, retry_after, with_query

__all__ = ["Limits", "NoAnswer", "Provider", "TooMany", "check", "retry_after", "with_query"]


class Provider(providers.Provider):
    """One account at one payment provider, as this process asks it."""

    def __init__(self, name: str, limits: Limits = Limits()) -> None:  # noqa: B008 (a tuple)
        super().__init__(name, limits, Unknown)

"""Why an order was cancelled, in the reader's language. Events carry the reason in English, some with a code before."""

import re

from django.utils.translation import gettext_lazy as _

REASONS = (
    (re.compile(r"I002: insufficient stock of product (?P<id>\d+)"), _("not enough in stock of product %(id)s")),
    (re.compile(r"I002: no stock of product (?P<id>\d+)"), _("no stock of product %(id)s")),
    (re.compile(r"PAY002: .*"), _("the payment was declined")),
    (re.compile(r"cancelled by the customer"), _("cancelled by the customer")),
    (re.compile(r"cancelled by the shop's staff"), _("cancelled by the shop's staff")),
    (re.compile(r"not with the carrier before the deadline"), _("not with the carrier before the deadline")),
    (re.compile(r"refused by the carrier.*"), _("refused by the carrier")),
    (re.compile(r"refused by the recipient.*"), _("refused by the recipient")),
    (re.compile(r"failed with the carrier"), _("failed with the carrier")),
)


def reason(text: str) -> str:
    """A reason as people read it; one that nobody has written down here as it came."""
    for pattern, said in REASONS:
        if found := pattern.fullmatch(text):
            return str(said) % found.groupdict()
    return text


def kind_of_reason(text: str) -> str:
    """The same for many orders at once: without which product it was."""
    return str(_("not enough in stock")) if text.startswith("I002:") else reason(text)

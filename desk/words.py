"""Why an order was cancelled, or not changed, and what timelines say, in the reader's language. Rows and events have
it in English, some after a code."""

import re

from django.utils.translation import gettext_lazy as _

from shop.contracts import reasons

REASONS = (
    (re.compile(rf"{reasons.NOT_ENOUGH_OF} (?P<id>\d+)"), _("not enough in stock of product %(id)s")),
    (re.compile(rf"{reasons.NO_STOCK_OF} (?P<id>\d+)"), _("no stock of product %(id)s")),
    (re.compile(reasons.NOT_FROM_ONE_PLACE), _("in stock, but not in one place")),
    (re.compile(reasons.NOT_CAPTURED), _("the money that was held could not be taken")),
    (re.compile(f"{reasons.PAYMENT_DECLINED}: .*"), _("the payment was declined")),
    (re.compile(reasons.BY_CUSTOMER), _("cancelled by the customer")),
    (re.compile(reasons.BY_STAFF), _("cancelled by the shop's staff")),
    (re.compile(reasons.OVERDUE), _("no delivery was booked before the deadline")),
    (re.compile(f"{reasons.REFUSED_BY_CARRIER}.*"), _("refused by the carrier")),
    (re.compile(f"{reasons.REFUSED_BY_RECIPIENT}.*"), _("refused by the recipient")),
    (re.compile(reasons.NO_ADDRESS), _("the address is not kept any more")),
    (re.compile(reasons.SHIPMENT_FAILED), _("a shipment of the order does not arrive")),
    (re.compile(reasons.FAILED_WITH_CARRIER), _("failed with the carrier")),
    (re.compile(reasons.WITH_CARRIER), _("the carrier has the parcel already")),
    (re.compile(reasons.NOT_TO_LEAVE), _("the order is cancelled, or about to be")),
    (re.compile(reasons.NOT_SO_MUCH), _("there is not so much left to give back")),
    (re.compile(reasons.NOT_GIVEN_BACK), _("the payment provider has refused the refund")),
    # what one service writes in its own rows
    (re.compile("the order was changed"), _("the order was changed")),
    (re.compile("nothing was paid"), _("nothing was paid")),
    (re.compile(r"(?P<name>\S+) is away\b.*"), _("%(name)s cannot be reached")),
    (re.compile("Opening stock"), _("opening stock")),
    (re.compile("another address"), _("another address")),
    (re.compile(r"shipment (?P<id>\d+)"), _("shipment %(id)s")),
    (re.compile(r"return (?P<id>\d+)"), _("return %(id)s")),
    (re.compile(r"return (?P<id>\d+), order (?P<order>\d+)"), _("return %(id)s, order %(order)s")),
)

ERRORS = (
    (re.compile(r"Poisoned: .*"), _("The “poison” fault switch was on. Turn it off, and replay the letter.")),
    (
        re.compile(r"(ValidationError|DecodeError): .*"),
        _("The event cannot be read: its fields are not those expected."),
    ),
    (re.compile(r"IntegrityError: .*", re.DOTALL), _("The database refused what the step wrote.")),
)


def error(text: str) -> str:
    """Return what a dead letter's error means, in the reader's language; empty if it is not in the list."""
    return next((str(said) for pattern, said in ERRORS if pattern.fullmatch(text)), "")


def reason(text: str) -> str:
    """Translate a reason for people; one that is not in the list is returned unchanged."""
    for pattern, said in REASONS:
        if found := pattern.fullmatch(text):
            return str(said) % found.groupdict()
    return text


def kind_of_reason(text: str) -> str:
    """Translate a reason without the product's id, so that orders can be counted by it."""
    return str(_("not enough in stock")) if text.startswith(reasons.INSUFFICIENT_STOCK) else reason(text)

"""Why an order was cancelled: a text of our own, some with an error code in front, or the words of a third party.

A third party may write anything, even something that looks like one of our codes. So its words are marked on arrival,
and passed on unchanged.

Our own texts are constants here; the code that translates them compares with these constants: `notifications/texts.py`,
`desk/words.py`.
"""

import re

# Codes that a reason begins with. The API's errors of the same kind have the same (`shop/api/error_codes.py`).
INSUFFICIENT_STOCK = "I002"
PAYMENT_DECLINED = "PAY002"
UNKNOWN_GATEWAY = "PAY005"

# The product's id follows.
NO_STOCK_OF = f"{INSUFFICIENT_STOCK}: no stock of product"
NOT_ENOUGH_OF = f"{INSUFFICIENT_STOCK}: insufficient stock of product"

NOT_FROM_ONE_PLACE = f"{INSUFFICIENT_STOCK}: not in stock together"  # the owner's rule does not send it in parts

BY_CUSTOMER = "cancelled by the customer"
BY_STAFF = "cancelled by the shop's staff"
OVERDUE = "no delivery was booked before the deadline"
ASKED_FOR = (BY_CUSTOMER, BY_STAFF, OVERDUE)  # delivery decides about these, and may refuse
NOT_CAPTURED = f"{PAYMENT_DECLINED}: the money that was held could not be taken"
REFUSED_BY_CARRIER = "refused by the carrier"
REFUSED_BY_RECIPIENT = "refused by the recipient"
NO_ADDRESS = "the address is not kept any more"
SHIPMENT_FAILED = "a shipment of the order does not arrive"
FAILED_WITH_CARRIER = "failed with the carrier"

# Why an order stays as it was.
WITH_CARRIER = "the carrier has the parcel already"
NOT_TO_LEAVE = "the order is cancelled, or about to be"
NOT_SO_MUCH = "there is not so much left to give back"
NOT_GIVEN_BACK = "the payment provider has refused the refund"

LONGEST = 200  # characters, as databases have them
CARRIER = "carrier: "
ERASED = f"{CARRIER}…"  # replaces a carrier's words that were erased


def code_of(reason: str) -> str:
    """The code that a reason begins with; empty if it has none."""
    code = re.match(r"[A-Z]+\d{3}(?=:)", reason)
    return code[0] if code else ""


def said_by_carrier(words: str) -> str:
    """A carrier's words as a reason."""
    return f"{CARRIER}{words}"[:LONGEST]


def words_of_others(reason: str) -> str | None:
    """The third party's words in a reason; None for a reason of our own."""
    return reason.removeprefix(CARRIER) if reason.startswith(CARRIER) else None

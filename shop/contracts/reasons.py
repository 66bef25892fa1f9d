"""Why an order was cancelled: our own words, some after an error code, or the words of somebody else.

Others may write anything, also what looks like one of our codes. So their words are marked where they come in, and are
passed on unchanged.

Our own are named here. Whoever translates them compares with these names: `notifications/texts.py`, `desk/words.py`.
"""

import re

# Codes that a reason begins with. The API's errors of the same kind have the same (`shop/api/error_codes.py`).
INSUFFICIENT_STOCK = "I002"
PAYMENT_DECLINED = "PAY002"
UNKNOWN_GATEWAY = "PAY005"

# The product's id follows.
NO_STOCK_OF = f"{INSUFFICIENT_STOCK}: no stock of product"
NOT_ENOUGH_OF = f"{INSUFFICIENT_STOCK}: insufficient stock of product"

BY_CUSTOMER = "cancelled by the customer"
BY_STAFF = "cancelled by the shop's staff"
OVERDUE = "not with the carrier before the deadline"
REFUSED_BY_CARRIER = "refused by the carrier"
REFUSED_BY_RECIPIENT = "refused by the recipient"
FAILED_WITH_CARRIER = "failed with the carrier"

LONGEST = 200  # characters, as databases have them
CARRIER = "carrier: "
ERASED = f"{CARRIER}…"  # in the place of a carrier's words that were erased


def code_of(reason: str) -> str:
    """The code that a reason begins with; empty if it has none."""
    code = re.match(r"[A-Z]+\d{3}(?=:)", reason)
    return code[0] if code else ""


def said_by_carrier(words: str) -> str:
    """A carrier's words as a reason."""
    return f"{CARRIER}{words}"[:LONGEST]


def words_of_others(reason: str) -> str | None:
    """The words in a reason that are somebody else's; None for a reason of our own."""
    return reason.removeprefix(CARRIER) if reason.startswith(CARRIER) else None

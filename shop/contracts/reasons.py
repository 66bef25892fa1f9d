"""Why an order came to its end: our own words, some with an error code before them, or those of somebody else.

Others may write anything, also what looks like one of our codes. So what they say is marked where it comes in, and is
given on as they said it.
"""

# Our own. Who shows them matches them by these names: `notifications/texts.py`, `desk/words.py`.
BY_CUSTOMER = "cancelled by the customer"
BY_STAFF = "cancelled by the shop's staff"
OVERDUE = "not with the carrier before the deadline"
REFUSED_BY_CARRIER = "refused by the carrier"
REFUSED_BY_RECIPIENT = "refused by the recipient"
FAILED_WITH_CARRIER = "failed with the carrier"

LONGEST = 200  # characters, as databases keep them
CARRIER = "carrier: "
ERASED = f"{CARRIER}…"  # where a carrier's words were


def said_by_carrier(words: str) -> str:
    """A carrier's words as a reason."""
    return f"{CARRIER}{words}"[:LONGEST]


def words_of_others(reason: str) -> str | None:
    """The words in a reason that are somebody else's; None for a reason of our own."""
    return reason.removeprefix(CARRIER) if reason.startswith(CARRIER) else None

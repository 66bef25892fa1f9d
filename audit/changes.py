"""The invariants of changes before the hand-over, over orders, payments and delivery."""

from collections.abc import Iterator
from contextlib import suppress

from audit.facts import Facts
from audit.invariants import Violation
from shop.contracts.orders import FINAL
from shop.contracts.payments import CHANGE
from shop.seal import What, unseal

UNDER_WAY = {"WAITING", "REQUESTED"}


def changes_add_up(facts: Facts) -> Iterator[Violation]:
    """An order costs what was charged for it first and its changes; what each gives back was refunded, once, and no
    change that was not made was refunded."""
    for pk, order in facts.settled:
        changes = facts.changes.get(pk, [])
        made = {str(change["id"]): change["amount"] for change in changes if change["status"] == "MADE"}
        payment = facts.payments.get(pk)
        if payment and payment["amount"] and payment["amount"] + sum(made.values()) != order["total_price"]:
            detail = f"charged {payment['amount']}, changed by {sum(made.values())}, total {order['total_price']}"
            yield Violation("changes_add_up", f"order {pk}", detail)
        for change in changes:
            if facts.change_totals.get(change["id"], 0) != change["amount"]:
                detail = (
                    f"lines of {change['id']} {facts.change_totals.get(change['id'], 0)}, amount {change['amount']}"
                )
                yield Violation("changes_add_up", f"order {pk}", detail)
        if any(change["status"] in UNDER_WAY for change in changes):
            continue  # its refund may be ahead of it
        settled = {
            operation["key"].partition(CHANGE)[2]: -operation["amount"]
            for operation in facts.operations.get(pk, [])
            if CHANGE in operation["key"] and operation["outcome"] == "SUCCEEDED"
        }
        due = {change_id: amount for change_id, amount in made.items() if amount}
        if settled != due:
            yield Violation("changes_add_up", f"order {pk}", f"made {due}, settled {settled}")


def changes_end(facts: Facts) -> Iterator[Violation]:
    """An order knows the change that is being made of it, and no other; strictly: none is, and no parcel is held."""
    for pk, order in facts.settled:
        open_ones = [change["id"] for change in facts.changes.get(pk, []) if change["status"] in UNDER_WAY]
        if open_ones != [one for one in [order["change_id"]] if one]:
            yield Violation("changes_end", f"order {pk}", f"under way {open_ones}, known {order['change_id']}")
        if facts.strict and open_ones and order["status"] in FINAL:
            yield Violation("changes_end", f"order {pk}", f"{order['status']}, and {open_ones} under way")
        if facts.strict and any(one["status"] == "HELD" for one in facts.deliveries.get(pk, [])):
            yield Violation("changes_end", f"order {pk}", "its parcel is held")


def sent_where_it_was_to_go(facts: Facts) -> Iterator[Violation]:
    """A parcel whose address was to change went where the last change that was made says; to where the order was placed
    for if none was.

    Not of orders that nobody changed: each address would have to be decrypted. What is forgotten by now is passed over.
    """
    for pk, sealed in facts.placed_for.items():
        changes = [change for change in facts.changes[pk] if change["of_address"]]
        gone = [one for one in facts.deliveries.get(pk, []) if one["handed_over_at"] and one["address"]]
        if any(row["updated_at"] > facts.before for row in (*changes, *gone)):
            continue
        made = sorted((change["id"], change["address"]) for change in changes if change["status"] == "MADE")
        if made:
            sealed = made[-1][1]
        with suppress(ValueError):  # forgotten, or sealed with a secret that is gone
            expected = unseal(sealed, What.ADDRESS, order_id=pk)
            for one in gone:
                if one["address"] != expected:
                    yield Violation(
                        "sent_where_it_was_to_go", f"order {pk}", f"shipment {one['number']} went elsewhere"
                    )

"""Notes of staff on an order."""

from django.db import transaction

from orders.models import OrderNote
from shop import stafflog


def write_note(order_id: int, *, author_id: int, text: str) -> OrderNote:
    """Add a note. The staff log says that there is one; its text may name a person, and can be forgotten only here."""
    with transaction.atomic(using="orders"):
        note = OrderNote.objects.create(order_id=order_id, author_id=author_id, text=text)
        stafflog.record("orders", "note", f"order {order_id}", after={"note": note.pk})
    return note

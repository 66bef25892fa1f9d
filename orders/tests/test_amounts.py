"""Pieces of an order cost what was paid for them."""

import pytest

from orders.amounts import paid_for
from orders.models import OrderLine

LINES = [OrderLine(product_id=1, unit_price=333, quantity=3), OrderLine(product_id=2, unit_price=1, quantity=7)]


def test_parts_add_up_to_the_whole():
    parts = [{1: 1}, {1: 2, 2: 3}, {2: 4}]
    assert [paid_for(LINES, part) for part in parts] == [333, 669, 4]
    assert paid_for(LINES, {1: 3, 2: 7}) == sum(line.line_total for line in LINES) == 333 + 669 + 4


@pytest.mark.parametrize("pieces", [{1: 4}, {3: 1}, {1: -1}])
def test_more_than_was_ordered_has_no_amount(pieces: dict[int, int]):
    with pytest.raises(ValueError, match="not among what was ordered"):
        paid_for(LINES, pieces)

"""What was paid for pieces of an order: amounts that add up to its total, to the last unit of the currency."""

from collections.abc import Iterable, Mapping

from orders.models import OrderLine


def paid_for(lines: Iterable[OrderLine], pieces: Mapping[int, int]) -> int:
    """The amount for so many pieces of each product, in the currency's minor unit.

    Raises ValueError for more pieces than the lines have.
    """
    by_product = {line.product_id: line for line in lines}
    for product_id, count in pieces.items():
        if not 0 <= count <= (by_product[product_id].quantity if product_id in by_product else 0):
            raise ValueError(f"{count} pieces of product {product_id} are not among what was ordered.")
    return sum(by_product[product_id].unit_price * count for product_id, count in pieces.items())

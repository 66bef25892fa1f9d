"""The people of these tests, and the shortest way to say that they ordered something."""

from shop.contracts.accounts import Contact
from shop.contracts.events import Checkout, Line, OrderCreated

KIM = Contact(user_id=1, name="김하나", email="kim@example.com", phone="010-1234-5678", language="ko")
LEE = Contact(user_id=2, name="Lee Sun", email="lee@example.com", phone="", language="en")


def order_created(order_id: int, *, user: Contact | int) -> OrderCreated:
    """An order for one piece of product 1."""
    return OrderCreated(
        order_id=order_id,
        checkout=Checkout(
            user_id=user if isinstance(user, int) else user.user_id,
            amount=33000,
            currency="KRW",
            payment_gateway="TOSS_PAYMENTS",
            payment_token="tok_ok",
            lines=(Line(product_id=1, quantity=1),),
        ),
    )

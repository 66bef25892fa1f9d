"""Signs in, places an order and reads it, as somebody would who has generated `shop_client` from the description."""

import json
import sys

from shop_client import AuthenticatedClient, Client
from shop_client.api.auth import sign_in
from shop_client.api.orders import order_place, order_read
from shop_client.models import (
    CredentialsRequest,
    LineInputRequest,
    Order,
    OrderDetail,
    OrderOfOneProductRequest,
    OrderOfSeveralProductsRequest,
    OrderStatus,
    Problem,
    TokenPair,
)

ADDRESS = "서울특별시 중구 세종대로 110"
url, email, password, product = sys.argv[1:]

tokens = sign_in.sync(client=Client(url), body=CredentialsRequest(email=email, password=password))
assert isinstance(tokens, TokenPair), tokens
shop = AuthenticatedClient(url, token=tokens.access)

lines = [LineInputRequest(product_id=int(product), quantity=2)]
order = order_place.sync(
    client=shop,
    body=OrderOfSeveralProductsRequest(items=lines, address=ADDRESS, payment_token="tok_ok"),
    idempotency_key="of-a-test",
)
assert isinstance(order, Order), order

read = order_read.sync(order.id, client=shop)
assert isinstance(read, OrderDetail), read
assert read.status is OrderStatus.PENDING

refused = order_place.sync(
    client=shop, body=OrderOfOneProductRequest(product_id=4711, quantity=1, address=ADDRESS, payment_token="tok_ok")
)
assert isinstance(refused, Problem), refused

print(json.dumps({"id": order.id, "status": read.status, "total": order.total_price, "code": refused.code}))

"""The users of the load: customers who order, and a staff member who adds the products and reads the orders. Everything
goes over HTTP, so it works with any shop."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from lab.loadtest.http import Answer, NoAnswer, Server
from lab.orders import PRICE

CUSTOMERS = ("customer1@example.com", "customer2@example.com", "customer3@example.com")
STAFF = "admin@example.com"
PAGE = 100  # orders
PATIENCE = 60.0  # seconds for a response to requests that are not part of the load


class CannotLoad(Exception):
    """The shop cannot be put under load; the message says why, and what to do."""


class Person:
    """A user who is signed in, and stays signed in."""

    def __init__(self, email: str, password: str) -> None:
        self.email, self._password = email, password
        self.bearer = ""
        self._renew_at = 0.0

    async def sign_in(self, server: Server) -> None:
        """Raises CannotLoad."""
        body = {"email": self.email, "password": self._password}
        try:
            answer = await server.ask("POST", "/auth/token", body, timeout=PATIENCE)
        except NoAnswer as error:
            raise CannotLoad(f"{server.url} does not answer ({error}). `make up` starts a shop.") from None
        if answer.status == 401:
            raise CannotLoad(
                f"{server.url} does not let {self.email} in. The load comes from the sample users, which "
                "`manage.py seed` makes on development machines; their password is SEED_PASSWORD or, if that is not "
                "set, in var/seed-password."
            )
        if answer.status == 429:
            raise CannotLoad(f"{server.url} throttles sign-ins (TOKENS_PER_MINUTE): wait a minute.")
        if not isinstance(answer.body, dict) or not isinstance(answer.body.get("access"), str):
            raise CannotLoad(
                f"{server.url} is no shop, or a broken one: POST /api/v1/auth/token answered {answer.status}."
            )
        self.bearer = answer.body["access"]
        self._renew_at = time.time() + (_expiry(self.bearer) - time.time()) / 2

    async def stay(self, server: Server) -> None:
        """Sign in again after half of the token's lifetime; if that fails, it is retried later."""
        if time.time() >= self._renew_at:
            self._renew_at = time.time() + 10
            try:
                await self.sign_in(server)
            except CannotLoad:
                return


def _expiry(token: str) -> float:
    """Return when a token expires, in seconds since 1970."""
    payload = token.split(".")[1]
    return float(msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])


class Staff(Person):
    """The staff member, who uses connections of their own."""

    def __init__(self, email: str, password: str, server: Server) -> None:
        super().__init__(email, password)
        self.server = server

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send a request; return the response's JSON. Raises CannotLoad."""
        extra = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        try:
            answer: Answer = await self.server.ask(
                method, path, body, token=self.bearer, timeout=PATIENCE, headers=extra
            )
        except NoAnswer as error:
            raise CannotLoad(f"{self.server.url}: {method} {path}: {error}") from None
        if answer.status == 403:
            raise CannotLoad(f"{self.email} is not one of the shop's staff at {self.server.url}.")
        if answer.status >= 400:
            raise CannotLoad(f"{self.server.url}: {method} {path} answered {answer.said}.")
        return answer.body

    async def put_up_for_sale(self, stock: Mapping[int, int], products: dict[int, int]) -> None:
        """Create the load's products with this stock, and add them to `products`, by planned product."""
        for number, pieces in stock.items():
            body = {"name": f"Load test {number}", "price": PRICE * number, "category": "ETC", "brand": "load test"}
            product = await self.call("POST", "/products", body)
            products[number] = product["id"]
            if pieces:
                adjustment = {"delta": pieces, "reason": "load test"}
                await self.call("POST", f"/inventory/{product['id']}/adjustments", adjustment)

    async def take_off_sale(self, products: Mapping[int, int]) -> None:
        for product in products.values():
            await self.call("DELETE", f"/products/{product}", If_Match="*")

    async def stock(self, product: int) -> int:
        """Return the units that can be sold now."""
        return (await self.call("GET", f"/inventory/{product}"))["quantity"]

    async def newest_order(self) -> int:
        """The id of the newest order; 0 if there is none."""
        page = await self.call("GET", "/orders?limit=1")
        return page["results"][0]["id"] if page["results"] else 0

    async def orders_since(self, order_id: int) -> AsyncIterator[Mapping[str, Any]]:
        """All orders after this one, newest first, a hundred at a time."""
        query = f"?limit={PAGE}"
        while query:
            page = await self.call("GET", f"/orders{query}")
            for order in page["results"]:
                if order["id"] <= order_id:
                    return
                yield order
            _, mark, after = (page["next"] or "").partition("?")
            query = mark + after

    async def order(self, order_id: int) -> Mapping[str, Any] | None:
        """Return an order with its timeline; None if it could not be read."""
        try:
            return await self.call("GET", f"/orders/{order_id}")
        except CannotLoad:
            return None


class People:
    """All users of the load."""

    def __init__(self, url: str, password: str) -> None:
        self.server = Server(url)
        self.customers = [Person(email, password) for email in CUSTOMERS]
        self.staff = Staff(STAFF, password, self.server)

    async def sign_in(self) -> None:
        """Raises CannotLoad."""
        await self.staff.sign_in(self.server)
        await asyncio.gather(*(one.sign_in(self.server) for one in self.customers))

    async def stay(self) -> None:
        """Keep all users signed in for as long as this runs."""
        while True:
            await asyncio.sleep(1)
            for one in (self.staff, *self.customers):
                await one.stay(self.server)

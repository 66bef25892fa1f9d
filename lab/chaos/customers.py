"""The customers whose orders wait for them on a provider's page: each does what its order's kind says.

They do it as people do: they look at their orders now and then, follow the link, press a button, and are sent back to
the shop. What does not answer they try again later.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import httpx

from lab.chaos.client import TIMEOUT, Client
from lab.orders import PlannedOrder

LOOK_EVERY = 1.0  # seconds
GIVE_UP, AWAY, CLOSING = "declined", "goes away", "closes the window"  # kinds of orders; all others are paid
TWICE = "comes back twice"


class Customers:
    """One thread for each customer, with `tokens` as the client has them. Use it as a context manager."""

    def __init__(self, client: Client, urls: Sequence[str], tokens: Sequence[str]) -> None:
        self._client, self._urls, self._tokens = client, urls, tokens
        self._leaving = threading.Event()
        self._threads = [threading.Thread(target=self._live, args=(who,), daemon=True) for who in range(len(tokens))]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        for thread in self._threads:
            thread.join()

    def _live(self, who: int) -> None:
        done: set[int] = set()
        turn = who
        with httpx.Client(timeout=TIMEOUT, trust_env=False) as http:  # the URLs are local: no proxy
            while not self._leaving.wait(LOOK_EVERY):
                turn += 1
                url = self._urls[turn % len(self._urls)]
                planned = {one.order_id: one.planned for one in list(self._client.operations) if one.what == "place"}
                with suppress(httpx.HTTPError):
                    for order_id, page in self._waiting(http, url, who).items():
                        if order_id in planned and order_id not in done and not self._leaving.is_set():
                            self._pay(http, url, planned[order_id], page)
                            done.add(order_id)

    def _waiting(self, http: httpx.Client, url: str, who: int) -> dict[int, str]:
        """Return the payment pages of a customer's orders, oldest order first."""
        headers = {"Authorization": f"Bearer {self._tokens[who]}"}
        query = {"status": "INVENTORY_RESERVED", "limit": "100"}
        answer = http.get(f"{url}/api/v1/orders", params=query, headers=headers)
        orders = answer.raise_for_status().json()["results"]
        return {one["id"]: one["nextAction"]["url"] for one in reversed(orders) if one["nextAction"]}

    def _pay(self, http: httpx.Client, url: str, planned: PlannedOrder, page: str) -> None:
        """Do on a page what is planned. Raises httpx.HTTPError if somebody does not answer: then it is done again."""
        if planned.kind == AWAY:
            return
        http.get(page).raise_for_status()
        sent = http.post(page, data={"action": "cancel" if planned.kind == GIVE_UP else "pay"})
        if sent.is_redirect and planned.kind != CLOSING:
            back = urlsplit(sent.headers["Location"])._replace(netloc=urlsplit(url).netloc).geturl()
            for _ in range(2 if planned.kind == TWICE else 1):
                http.get(back, follow_redirects=True).raise_for_status()

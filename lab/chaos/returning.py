"""Pieces of delivered orders come back. Customers request that over HTTP; staff see to it in this process, as the admin
would: they approve, inspect what has come, and decide what cannot go on by itself."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress

import httpx
from django.db import InterfaceError, OperationalError, connections

from lab.chaos.client import TIMEOUT, Client, Operation, Outcome
from lab.orders import RETURNED
from orders.models import Return
from orders.returns import decisions
from orders.returns.decisions import Found
from shop.api.problems import Problem

LOOK_EVERY = 1.0  # seconds


class Returning:
    """One thread for all customers, one for staff. Use it as a context manager; `no_more()` ends the requests."""

    def __init__(self, client: Client, urls: Sequence[str], tokens: Sequence[str]) -> None:
        self._client, self._urls, self._tokens = client, urls, tokens
        self._enough, self._leaving = threading.Event(), threading.Event()
        self._customers = threading.Thread(target=self._send_back, daemon=True)
        self._staff = threading.Thread(target=self._see_to_it, daemon=True)

    def __enter__(self) -> "Returning":
        self._customers.start()
        self._staff.start()
        return self

    def no_more(self) -> None:
        """Nobody requests anything any more; what was requested goes on to its end."""
        self._enough.set()
        self._customers.join()

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        self.no_more()
        self._staff.join()

    # --- Customers ----------------------------------------------------------------------------------------------------
    def _send_back(self) -> None:
        done: set[int] = set()
        turn = 0
        with httpx.Client(timeout=TIMEOUT, trust_env=False) as http:  # the URLs are local: no proxy
            while not self._enough.wait(LOOK_EVERY / len(self._tokens)):
                turn += 1
                who, url = turn % len(self._tokens), self._urls[turn % len(self._urls)]
                wanted = {
                    one.order_id: one.planned
                    for one in list(self._client.operations)
                    if one.what == "place" and one.planned.kind == RETURNED and one.order_id not in done
                }
                with suppress(httpx.HTTPError):
                    for order_id in self._delivered(http, url, who) & wanted.keys():
                        operation = Operation("return", wanted[order_id], time.time(), order_id=order_id)
                        self._client.do(http, operation, f"/orders/{order_id}/returns", wanted[order_id].one_back)
                        self._client.operations.append(operation)
                        if operation.outcome != Outcome.UNKNOWN:
                            done.add(order_id)

    def _delivered(self, http: httpx.Client, url: str, who: int) -> set[int]:
        """Return the numbers of a customer's orders that have been delivered, of the newest hundred."""
        headers = {"Authorization": f"Bearer {self._tokens[who]}"}
        query = {"status": "COMPLETED", "limit": "100"}
        answer = http.get(f"{url}/api/v1/orders", params=query, headers=headers)
        return {one["id"] for one in answer.raise_for_status().json()["results"]}

    # --- Staff --------------------------------------------------------------------------------------------------------
    def _see_to_it(self) -> None:
        while not self._leaving.wait(LOOK_EVERY):
            try:
                for one in Return.objects.prefetch_related("items"):
                    with suppress(Problem):  # it has gone on meanwhile
                        _decide(one)
            except (OperationalError, InterfaceError):  # the database is away
                connections.close_all()
        connections.close_all()


def _decide(one: Return) -> None:
    """Do what waits for staff. Of every third return the piece is worn, and nothing is paid back."""
    match one.status:
        case "REQUESTED":
            decisions.approve(one.pk)
        case "RECEIVED":
            accepted = one.pk % 3 > 0
            decisions.inspect(one.pk, {line.product_id: _found(line.quantity, accepted) for line in one.lines})
        case "LOST":
            decisions.inspect(one.pk, {line.product_id: Found(0, line.quantity, 0) for line in one.lines})
        case "REFUND_REFUSED":
            decisions.refund_again(one.pk, amount=0)


def _found(pieces: int, accepted: bool) -> Found:
    return Found(pieces, 0, 0) if accepted else Found(0, 0, pieces)

"""The shop's API, as a client uses it over HTTP."""

import time
from collections.abc import Callable
from typing import Any, Self

import httpx

ADDRESS = "서울특별시 중구 세종대로 110"
PATIENCE = 30.0  # seconds for anything that takes its time


class NotAsExpected(Exception):
    """The shop did not do what it must; the message says what happened."""


class Person:
    """A signed-in user."""

    def __init__(self, url: str, *, email: str, password: str) -> None:
        self.email = email
        self._http = httpx.Client(
            base_url=f"{url}/api/v1",
            timeout=PATIENCE,
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=8),
            trust_env=False,  # the URL is local: no proxy
        )
        tokens = self.call("POST", "/auth/token", {"email": email, "password": password})
        self._http.headers["Authorization"] = f"Bearer {tokens['access']}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, body: Any = None, *, key: str = "", **params: Any) -> Any:
        """The answer's JSON; `key` names the request. Raises NotAsExpected for any error."""
        headers = {"Idempotency-Key": key} if key else None
        answer = self._http.request(method, path, json=body, params=params or None, headers=headers)
        if answer.is_error:
            raise NotAsExpected(f"{method} {path} answered {answer.status_code}: {answer.text[:300]}")
        return answer.json()

    def get(self, path: str, **params: Any) -> Any:
        return self.call("GET", path, **params)

    def post(self, path: str, body: Any, *, key: str = "") -> Any:
        return self.call("POST", path, body, key=key)

    def order(self, product_id: int, quantity: int, **more: Any) -> int:
        """Place an order; return its id. Unless `more` says otherwise, it is paid and delivered."""
        usual = {"address": ADDRESS, "paymentToken": "tok_ok"}
        return self.post("/orders", {"productId": product_id, "quantity": quantity, **usual, **more})["id"]

    def stock(self, product_id: int) -> int:
        """Return how many units can be sold now."""
        return self.get(f"/inventory/{product_id}")["quantity"]


def until(look: Callable[[], Any], *, what: str, look_every: float = 0.05) -> Any:
    """Return the first true result of `look()`. Raises NotAsExpected if that takes too long."""
    give_up_at = time.monotonic() + PATIENCE
    while not (seen := look()):
        if time.monotonic() > give_up_at:
            raise NotAsExpected(f"{what} did not happen within {PATIENCE:.0f} s")
        time.sleep(look_every)
    return seen

"""Returns as customers and clerks ask for them over HTTP."""

from typing import Any

from rest_framework.test import APIClient

from accounts.models import User
from accounts.services import issue
from audit import Violation, audit

API = "/api/v1"
PIECES = 10  # in stock of each product
TWO = {"items": [{"productId": 1, "quantity": 2}], "reason": "the wrong edition"}


def client(user: User) -> APIClient:
    signed_in = APIClient()
    signed_in.credentials(HTTP_AUTHORIZATION=f"Bearer {issue(user).access}")
    return signed_in


def ask(who: APIClient, order_id: int, body: Any = None, key: str = "") -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return who.post(f"{API}/orders/{order_id}/returns", TWO if body is None else body, headers=headers)


def act(who: APIClient, return_id: int, what: str, body: Any = None, expected: int = 202) -> Any:
    answer = who.post(f"{API}/returns/{return_id}/{what}", body)
    assert answer.status_code == expected, answer.json()
    return answer.json()


def found(accepted: int = 0, written_off: int = 0, rejected: int = 0) -> Any:
    pieces = {"accepted": accepted, "writtenOff": written_off, "rejected": rejected}
    return {"items": [{"productId": 1, **pieces}]}


def clean() -> bool:
    found = [one for one in audit(strict=True) if isinstance(one, Violation)]
    assert found == []
    return True

"""`Prefer` (RFC 7240)."""

import pytest
from rest_framework.test import APIRequestFactory

from shop.api.preferences import preference


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("wait=5", "5"),
        ("WAIT=5", "5"),
        ("Wait = 5", "5"),
        ('wait="5"', "5"),
        ("respond-async, wait=5", "5"),
        ("respond-async,WAIT=5;x=1, other", "5"),
        ("wait=5, wait=9", "5"),
        ('a="1, wait=3", wait=5', "5"),
        ("a; wait=3", None),
        ("await=3", None),
        ("wait", ""),
        ("", None),
        ('"', None),
        (",;=,", None),
    ],
)
def test_the_first_of_its_name_in_any_case(header: str, value: str | None):
    assert preference(APIRequestFactory().get("/", headers={"Prefer": header}), "wait") == value

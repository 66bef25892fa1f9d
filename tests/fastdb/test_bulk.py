"""Many rows in one statement: what arrives, and what stays as it was."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from fastdb.bulk import insert_if_absent, insert_rows, update_rows
from payments.models import GatewayLedger, Payment

pytestmark = pytest.mark.django_db(databases=["payments"])


def row(order_id: int, **fields: Any) -> dict[str, Any]:
    given = {"amount": 33000, "currency": "KRW", "gateway": "TOSS_PAYMENTS", "token": "a", "checkout": {"lines": [1]}}
    return {"order_id": order_id, "user_id": 7, "status": "PENDING", **given, **fields}


def test_rows_arrive_with_the_defaults_of_what_they_do_not_name():
    insert_if_absent(Payment, [row(1), row(2, token="é'\n\"")], key="order_id")

    first, second = Payment.objects.order_by("order_id")
    assert (first.checkout, first.reason, first.attempts) == ({"lines": [1]}, "", 0)
    assert second.token == "é'\n\""


def test_of_two_with_one_key_the_first_stays_and_only_new_rows_are_answered():
    ((order_id, key),) = insert_if_absent(Payment, [row(1)], key="order_id").items()
    later = insert_if_absent(Payment, [row(2), row(1, amount=1)], key="order_id")

    assert list(later) == [2]
    assert Payment.objects.get(pk=key).order_id == order_id == 1
    assert Payment.objects.get(order_id=1).amount == 33000


def test_no_rows_are_no_statement(django_assert_num_queries: Any):
    with django_assert_num_queries(0, using="payments"):
        assert insert_rows(GatewayLedger, []) == []
        assert insert_if_absent(Payment, [], key="order_id") == {}
        update_rows([], "status")


def test_what_is_named_is_written_back_and_nothing_else():
    insert_if_absent(Payment, [row(1), row(2), row(3)], key="order_id")
    one, two, three = Payment.objects.order_by("order_id")
    later = timezone.now() + timedelta(days=1)
    one.checkout, one.due_at, one.token = None, None, "not named"
    two.checkout, two.due_at = {"text": "é\n\"'"}, later

    update_rows([one, two], "checkout", "due_at")

    found = list(Payment.objects.order_by("order_id").values_list("checkout", "due_at", "token"))
    assert found == [(None, None, "a"), ({"text": "é\n\"'"}, later, "a"), ({"lines": [1]}, three.due_at, "a")]
    assert list(Payment.objects.filter(checkout__isnull=True).values_list("order_id", flat=True)) == [1]  # SQL's NULL

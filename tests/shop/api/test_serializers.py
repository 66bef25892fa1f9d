"""What comes in: JSON that is refused, fields that take types at their word."""

import pytest
from rest_framework.exceptions import ValidationError
from rest_framework.test import APIClient

from shop.api.parsers import DEEPEST, loads
from shop.api.problems import InvalidInput
from shop.api.serializers import Boolean, Choice, Identifier, Integer, Serializer, Text, camel_case


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, 2.5, "\\u00e9", null, true]}', {"a": [1, 2.5, "é", None, True]}),
        ("{'한': '글'}".replace("'", '"').encode(), {"한": "글"}),
        (b"9223372036854775808", 2**63),
        (b"[" * DEEPEST + b"]" * DEEPEST, None),
        (b'"\\ud83d\\ude00"', "😀"),
    ],
)
def test_json_is_read(body, value):
    assert value is None or loads(body) == value


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": 1, "a": 2}', "same key twice"),
        (b'{"x": {"a": 1, "\\u0061": 2}}', "same key twice"),
        (b"NaN", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"1e400", "too long"),
        (b"1" * 4000, "too long"),
        (b"0." + b"1" * 4000, "too long"),
        (b'"\\u0000"', "NUL"),
        (b'{"a\\u0000": 1}', "NUL"),
        (b'"\\ud800"', "surrogate"),
        (b"[" * 100_000, "nested"),
        (b"[" * 100_000 + b"]" * 100_000, "nested"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested"),
        (b"[" * (DEEPEST + 1) + b"1" + b"]" * (DEEPEST + 1), "nested"),
    ],
)
def test_json_is_refused(body, why):
    with pytest.raises(InvalidInput, match=why):
        loads(body)


class LineSerializer(Serializer):
    product_id = Identifier()
    quantity = Integer(min_value=1, max_value=1000)


class OrderSerializer(Serializer):
    line_items = LineSerializer(many=True, required=False)
    gift_wrap = Boolean(required=False)
    delivery_note = Text(required=False, max_length=20)
    sort = Choice(choices=["a", "b"], required=False)


def test_the_wire_is_camel_case_and_the_code_is_not():
    serializer = OrderSerializer(data={"lineItems": [{"productId": 1.0, "quantity": 2}], "giftWrap": True})
    assert serializer.is_valid()
    assert serializer.validated_data == {"line_items": [{"product_id": 1, "quantity": 2}], "gift_wrap": True}
    assert OrderSerializer({"delivery_note": "x", "line_items": [], "gift_wrap": False, "sort": "a"}).data == {
        "deliveryNote": "x",
        "lineItems": [],
        "giftWrap": False,
        "sort": "a",
    }
    assert camel_case("image_url_2x") == "imageUrl2x"


@pytest.mark.parametrize(
    "data",
    [
        {"lineItems": [{"productId": 0, "quantity": 1}]},
        {"lineItems": [{"productId": 2**63, "quantity": 1}]},
        {"lineItems": [{"productId": "1", "quantity": 1}]},
        {"lineItems": [{"productId": 1.5, "quantity": 1}]},
        {"lineItems": [{"productId": 2.0**60, "quantity": 1}]},
        {"lineItems": [{"productId": True, "quantity": 1}]},
        {"lineItems": [{"productId": 1, "quantity": 1001}]},
        {"lineItems": [{"productId": 1, "quantity": 1, "price": 5}]},
        {"lineItems": {"productId": 1}},
        {"lineItems": [1]},
        {"giftWrap": 1},
        {"giftWrap": "true"},
        {"deliveryNote": 5},
        {"deliveryNote": True},
        {"sort": 1},
        {"sort": {"a": 1}},
        {"delivery_note": "x"},
        {"": 1},
        [],
        "x",
        None,
    ],
)
def test_types_are_taken_at_their_word(data):
    with pytest.raises(ValidationError):
        OrderSerializer(data=data).is_valid(raise_exception=True)


class TestOverHttp:
    """Bad input of any kind gets a problem document, on an address that needs no database to refuse it."""

    path = "/api/v1/auth/token"

    @pytest.fixture
    def client(self) -> APIClient:
        return APIClient()

    def test_the_size_of_a_body_is_limited(self, client, settings):
        body = b'"' + b"x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE + b'"'
        answer = client.post(self.path, body, content_type="application/json")
        assert (answer.status_code, answer.json()["code"]) == (413, "C002")

    @pytest.mark.parametrize(
        "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "x"]
    )
    def test_only_json(self, client, content_type):
        answer = client.post(self.path, b"x=1", content_type=content_type)
        assert (answer.status_code, answer.json()["code"]) == (415, "C004")

    def test_errors_name_the_field_and_echo_little(self, client):
        answer = client.post(self.path, {"email": "x" * 5000, "password": {"hunter2": 1}, "f" * 5000: "v" * 5000})
        errors = {error["field"]: error["value"] for error in answer.json()["errors"]}
        assert errors == {"email": "x" * 100 + "…", "password": None, "f" * 100 + "…": "v" * 100 + "…"}

    def test_many_errors_are_cut_short(self, client):
        answer = client.post(self.path, {f"field{number}": 1 for number in range(1000)})
        assert (answer.status_code, len(answer.json()["errors"])) == (400, 50)

"""What goes out: rows as Django REST framework shows them, with less work; and JSON."""

import json
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from django.utils.translation import gettext_lazy
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.renderers import JSONRenderer as PlainRenderer
from rest_framework.utils.serializer_helpers import ReturnDict

from shop.api.renderers import JSONRenderer
from shop.api.serializers import Integer, Moment, Serializer, Text

ROW = SimpleNamespace(
    unit_price=5,
    owner=SimpleNamespace(name="김하나"),
    made_at=datetime(2026, 11, 23, 18, tzinfo=timezone(timedelta(hours=9))),
    lines=[SimpleNamespace(quantity=2), SimpleNamespace(quantity=3)],
    nothing=None,
    secret="hunter2",
)


class LineShown(Serializer):
    quantity = Integer()


class RowShown(Serializer):
    unit_price = Integer()
    owner_name = Text(source="owner.name")
    made_at = Moment()
    lines = LineShown(many=True)
    nothing = Text(allow_null=True)
    sentence = serializers.SerializerMethodField()
    secret = Text(write_only=True)

    def get_sentence(self, row):
        return f"{row.owner.name} pays {row.unit_price}"


SHOWN = {
    "unitPrice": 5,
    "ownerName": "김하나",
    "madeAt": "2026-11-23T09:00:00Z",
    "lines": [{"quantity": 2}, {"quantity": 3}],
    "nothing": None,
    "sentence": "김하나 pays 5",
}


@pytest.mark.parametrize("row", [ROW, vars(ROW)], ids=["object", "mapping"])
def test_a_row_is_shown(row):
    class OfMapping(RowShown):
        def get_sentence(self, row):
            return "김하나 pays 5"

    for _ in range(2):  # what is found out the first time is used the second
        shown = OfMapping(row).data
        assert (shown, list(shown)) == (SHOWN, list(SHOWN))
    assert list(OfMapping([row, row], many=True).data) == [SHOWN, SHOWN]


def test_a_row_without_a_field_is_a_bug():
    with pytest.raises(AttributeError, match="unit_price"):
        RowShown(SimpleNamespace()).data  # noqa: B018


VALUES = [
    None,
    {"b": 1, "a": [True, None, 2.5, -(2**63), 2**63]},
    ReturnDict({"이름": "클린 코드", "quoted": 'a "b"\\\n\t\x01/'}, serializer=Serializer()),
    ErrorDetail("refused", code="no"),
    [gettext_lazy("Lazy")],
    {"at": datetime(2026, 11, 23, tzinfo=UTC).isoformat()},
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_json_is_what_the_framework_writes(value):
    assert JSONRenderer().render(value) == PlainRenderer().render(value)


def test_json_is_indented_for_who_asks():
    assert JSONRenderer().render({"a": 1}, "application/json; indent=2") == b'{\n  "a": 1\n}'
    assert json.loads(JSONRenderer().render({"a": 1}, renderer_context={"indent": 4})) == {"a": 1}


def test_what_is_no_json_is_a_bug():
    with pytest.raises(TypeError):
        JSONRenderer().render({"a": object()})

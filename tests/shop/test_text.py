"""The one form of text that comes in, by the API, by forms and by filters."""

import re
from unicodedata import normalize

import pytest
from django.core.exceptions import ValidationError

from accounts.models import User
from catalog.models import Product
from shop.api.filters import TextFilter
from shop.api.serializers import Lines, Text
from shop.text import LineField, LinesField, check_line, check_lines, pattern, tidy

FAMILY = "👨\u200d👩\u200d👧"
PERSIAN = "می\u200cخواهم"

TIDY = [
    (" 홍길동 ", "홍길동"),
    (normalize("NFD", "홍길동"), "홍길동"),
    ("\u00a0Hong\u3000", "Hong"),
    ("Hong\n", "Hong"),
    ("e\u0301", "é"),
    ("\u212bngstrom", "Ångstrom"),
    ("one\r\ntwo\rthree", "one\ntwo\nthree"),
    ("①", "①"),  # NFC, and not NFKC: what somebody wrote stays what they wrote
    (FAMILY, FAMILY),
]
GOOD = [
    "홍길동",
    "O’Brien-Smith",
    FAMILY,
    PERSIAN,
    "a\u200bb",
    "\u05d0\u200f",
    "1",
    "-",
    "é",
    "\U0001f3f4\U000e0067\U000e007f",
]
UNSEEN = [
    "\u3164",
    "\u200b",
    "\u2800",
    "\u00ad",
    "\u115f\u1160",
    "\ufe0f",
    "\u200d\u200d",
    "\U000e0067",
    "\u3164 \u200b",
]
CONTROLLED = [
    "a\x1b[31m",
    "a\x07",
    "\x7fa",
    "a\x85b",
    "a\ufeffb",
    "a\u202eb",
    "a\u2066b",
    "a\u2028b",
    "a\u2029b",
    "a\x1fb",
]
BROKEN = ["a\nb", "a\tb"]


@pytest.mark.parametrize(("given", "form"), TIDY)
def test_one_form(given: str, form: str):
    assert tidy(given) == form == tidy(form)


@pytest.mark.parametrize("text", GOOD)
def test_what_somebody_writes_is_a_text(text: str):
    check_line(text)
    check_lines(text)


@pytest.mark.parametrize("text", UNSEEN + CONTROLLED)
def test_what_nobody_sees_is_none(text: str):
    for check in (check_line, check_lines):
        with pytest.raises(ValidationError):
            check(text)


@pytest.mark.parametrize("text", BROKEN)
def test_only_some_texts_have_lines(text: str):
    check_lines(text)
    with pytest.raises(ValidationError):
        check_line(text)


@pytest.mark.parametrize("field", [Text(), Lines()])
@pytest.mark.parametrize("text", [*GOOD, *UNSEEN, *CONTROLLED, *BROKEN])
def test_the_schema_says_the_same(text: str, field: Text):
    try:
        field.run_validation(text)
    except Exception:
        accepted = False
    else:
        accepted = True
    assert (re.search(pattern(lines=field.lines), text) is not None) == accepted


FIELDS = {
    "API, a line": lambda text: Text(max_length=3).run_validation(text),
    "API, lines": lambda text: Lines(max_length=3).run_validation(text),
    "form, a line": LineField(max_length=3).clean,
    "form, lines": LinesField(max_length=3).clean,
    "admin, a product's name": lambda text: Product._meta.get_field("name").formfield(max_length=3).clean(text),
    "admin, its description": lambda text: Product._meta.get_field("description").formfield(max_length=3).clean(text),
    "admin, its brand": lambda text: Product._meta.get_field("brand").formfield(max_length=3).clean(text),
    "admin, a user's name": lambda text: User._meta.get_field("name").formfield(max_length=3).clean(text),
    "filter": lambda text: TextFilter().field.clean(text),
}


@pytest.mark.parametrize("take", FIELDS.values(), ids=FIELDS)
def test_every_way_in_makes_that_form_before_it_measures(take):
    assert take(normalize("NFD", " 홍길동 ")) == "홍길동"
    assert take("abc ") == "abc"
    for text in UNSEEN + CONTROLLED[:3]:
        with pytest.raises(Exception) as refused:
            take(text)
        assert type(refused.value).__name__ == "ValidationError"


def test_what_is_chosen_at_will_is_left_as_it_is():
    assert Text(trim_whitespace=False).run_validation(" \tsecret ") == " \tsecret "


def test_columns_are_those_of_django():
    assert {Product._meta.get_field(name).deconstruct()[1] for name in ("name", "brand")} == {
        "django.db.models.CharField"
    }

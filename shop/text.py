"""Incoming text is normalised and validated, whether it comes by the API, a form or a filter: `tidy` normalises it,
`check_line` and `check_lines` validate it.

The normal form is NFC without surrounding space, its lines ended by a line feed. It is made before anything is measured
or compared: a Mac sends 각 as three code points, and a customer who copies a name copies a space with it.

Refused are control characters, direction overrides, and text without a visible character. Characters that join or shape
their neighbours (in emoji, Persian, Hindi) are allowed.

Models use `Line` and `Lines`, so that their forms follow; forms `LineField` and `LinesField`. `shop.api.serializers`
and `shop.api.filters` have the API's fields.
"""

import re
import unicodedata
from typing import Any

import idna
from django import forms
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext_lazy as _

LONGEST_ADDRESS = 1000  # characters: encoding a domain takes time proportional to the square of its length
SPACES = "\\s\x1c-\x1f\x85"  # as Python takes them, in any dialect of regular expressions
BREAKS = "\t\n\r"
# Controls, the separators of lines and paragraphs, direction overrides, and the byte order mark.
CONTROLS = "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u206f\ufeff\ufff9-\ufffb"
# Invisible by themselves: joiners, fillers, variation selectors, the empty braille pattern, tags.
TRACELESS = (
    "\xad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u2065\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0000-\U000e0fff"
)
IN_A_LINE, IN_LINES = CONTROLS + BREAKS, CONTROLS

_in_a_line, _in_lines = re.compile(f"[{IN_A_LINE}]"), re.compile(f"[{IN_LINES}]")
_seen = re.compile(f"[^{SPACES}{CONTROLS}{TRACELESS}]")


def tidy(text: str) -> str:
    """Return the normal form of a text."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", text).strip()


def mailbox(address: str) -> str:
    """Normalise an e-mail address: lower case, its domain in ASCII (IDNA). Anything else is returned unchanged."""
    address = tidy(address)
    local, at, domain = address.rpartition("@")
    if at and len(address) <= LONGEST_ADDRESS and (not domain.isascii() or "xn--" in domain.lower()):
        try:
            address = f"{local}@{idna.encode(domain, uts46=True).decode()}"
        except idna.IDNAError:
            return address
    return address.lower() if address.isascii() else address  # İ in lower case is two characters


def check_line(text: str) -> None:
    """A validator: raises `ValidationError` unless this is a valid text of one line."""
    _check(text, _in_a_line)


def check_lines(text: str) -> None:
    """A validator for text that may have several lines."""
    _check(text, _in_lines)


def _check(text: str, refused: re.Pattern[str]) -> None:
    if refused.search(text):
        raise ValidationError(_("There are control characters in this text, or line breaks where none belong."))
    if not is_seen(text):
        raise ValidationError(_("Nothing of this text can be seen."))


def is_seen(text: str) -> bool:
    """Whether a text has a visible character."""
    return _seen.search(text) is not None


def pattern(*, lines: bool) -> str:
    """Return the same rule for JSON Schema, for a non-empty text in normal form."""
    refused = IN_LINES if lines else IN_A_LINE
    return f"^[^{refused}]*[^{SPACES}{CONTROLS}{TRACELESS}][^{refused}]*$"


class LineField(forms.CharField):
    """A form's text of one line."""

    default_validators = [check_line]

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        return tidy(text) if isinstance(text, str) else text


class LinesField(LineField):
    """A form's text of several lines."""

    default_validators = [check_lines]
    widget = forms.Textarea


class Line(models.CharField):  # type: ignore[type-arg]  # Django's own is not generic
    """A model's text of one line."""

    default_validators = [check_line]

    def formfield(self, **options: Any) -> Any:
        return super().formfield(**{"form_class": LineField} | options)

    def deconstruct(self) -> Any:
        name, _path, arguments, options = super().deconstruct()
        return name, "django.db.models.CharField", arguments, options  # the database sees a plain CharField


class Lines(models.TextField):  # type: ignore[type-arg]
    """A model's text of several lines."""

    default_validators = [check_lines]

    def formfield(self, **options: Any) -> Any:
        return super().formfield(**{"form_class": LinesField} | options)

    def deconstruct(self) -> Any:
        name, _path, arguments, options = super().deconstruct()
        return name, "django.db.models.TextField", arguments, options

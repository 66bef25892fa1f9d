"""How customers are reached: e-mail addresses as mailboxes, phone numbers as networks know them.

Each is kept in one form, whichever way it is written: one mailbox opens one account, and what is kept can be sent to.
Fields of models keep that form, and look rows up by it.
"""

import re
from collections.abc import Callable
from typing import Any

import phonenumbers
from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from shop.text import Line, LineField, mailbox, tidy

WEB_ADDRESS = re.compile(r"://|\bwww\.", re.IGNORECASE)

_looks_like_an_address = EmailValidator()


def check_mailbox(address: str) -> None:
    """A validator of addresses as `mailbox` writes them.

    Refused is what few mail servers take, though the RFCs know it: letters beyond ASCII before the @, names in quotes,
    addresses of machines in place of a domain.
    """
    _looks_like_an_address(address)
    if not address.isascii() or '"' in address or address.endswith("]"):
        raise ValidationError(_looks_like_an_address.message, code="invalid")


def phone_number(number: str) -> str:
    """A phone number as networks know it (E.164); one without a country's code is of PHONE_REGION.

    What is no number stays as it is.
    """
    parsed = _parsed(number)
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) if parsed else tidy(number)


def check_phone_number(number: str) -> None:
    """A validator: raises `ValidationError` for what cannot be called."""
    if _parsed(number) is None:
        raise ValidationError(_("This is no phone number."))


def _parsed(number: str) -> phonenumbers.PhoneNumber | None:
    try:
        parsed = phonenumbers.parse(number, settings.PHONE_REGION)
    except phonenumbers.NumberParseException:
        return None
    return parsed if phonenumbers.is_valid_number(parsed) else None


def check_name(name: str) -> None:
    """A validator: a name is what mail to any address begins with, so it leads nowhere."""
    if WEB_ADDRESS.search(name):
        raise ValidationError(_("A name has no web address in it."))


class _OneForm:
    """A model's field that is kept, and looked up, in the form that `one_form` makes."""

    one_form: Callable[[str], str]
    form_class: type[forms.Field]

    def get_prep_value(self, value: Any) -> Any:
        value = super().get_prep_value(value)  # type: ignore[misc]
        return type(self).one_form(value) if isinstance(value, str) else value

    def formfield(self, **options: Any) -> Any:
        return super().formfield(**{"form_class": self.form_class} | options)  # type: ignore[misc]


class MailboxField(LineField, forms.EmailField):
    """A form's e-mail address."""

    default_validators = [check_mailbox]

    def to_python(self, value: Any) -> Any:
        return mailbox(super().to_python(value))


class PhoneField(LineField):
    """A form's phone number."""

    default_validators = [check_phone_number]

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        return phone_number(text) if text else text


class Mailbox(_OneForm, models.EmailField):  # type: ignore[type-arg]  # Django's own is not generic
    """A model's e-mail address."""

    one_form, form_class = staticmethod(mailbox), MailboxField
    default_validators = [check_mailbox]

    def deconstruct(self) -> Any:
        name, _path, arguments, options = super().deconstruct()
        return name, "django.db.models.EmailField", arguments, options


class Phone(_OneForm, Line):
    """A model's phone number."""

    one_form, form_class = staticmethod(phone_number), PhoneField
    default_validators = [check_phone_number]

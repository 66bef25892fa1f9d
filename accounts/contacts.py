"""How customers are reached: normal forms of e-mail addresses and phone numbers.

However it is written, an address or number is stored in one normal form: so one mailbox has one account, and messages
can be sent to what is stored. The model fields store and look up the normal form.
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
    """A validator of addresses that `mailbox` has normalised.

    It refuses what the RFCs allow but few mail servers accept: non-ASCII letters before the @, quoted names, IP
    addresses in place of a domain.
    """
    _looks_like_an_address(address)
    if not address.isascii() or '"' in address or address.endswith("]"):
        raise ValidationError(_looks_like_an_address.message, code="invalid")


def phone_number(number: str) -> str:
    """Normalise a phone number to E.164; one without a country code belongs to PHONE_REGION.

    Anything else is only tidied.
    """
    parsed = _parsed(number)
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) if parsed else tidy(number)


def digits_of(number: str) -> list[str]:
    """Return the digits of a phone number: those of E.164 and, within PHONE_REGION, those that are dialled there."""
    if (parsed := _parsed(number)) is None:
        return []
    forms = [phonenumbers.PhoneNumberFormat.E164]
    if parsed.country_code == phonenumbers.country_code_for_region(settings.PHONE_REGION):
        forms.append(phonenumbers.PhoneNumberFormat.NATIONAL)
    return [phonenumbers.normalize_digits_only(phonenumbers.format_number(parsed, form)) for form in forms]


def check_phone_number(number: str) -> None:
    """A validator: raises `ValidationError` unless this is a valid phone number."""
    if _parsed(number) is None:
        raise ValidationError(_("This is no phone number."))


def _parsed(number: str) -> phonenumbers.PhoneNumber | None:
    try:
        parsed = phonenumbers.parse(number, settings.PHONE_REGION)
    except phonenumbers.NumberParseException:
        return None
    return parsed if phonenumbers.is_valid_number(parsed) else None


def check_name(name: str) -> None:
    """A validator: e-mails to any address begin with the name, so it must not contain a link."""
    if WEB_ADDRESS.search(name):
        raise ValidationError(_("A name has no web address in it."))


class _OneForm:
    """A model field whose values are stored and looked up as normalised by `one_form`."""

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

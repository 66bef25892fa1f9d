"""Rules for passwords, beside Django's."""

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from shop.api.problems import FieldError, InvalidInput
from shop.text import is_seen


def check_password(password: str, user: Any, *, field: str) -> None:
    """Raise `InvalidInput` for this field if the password is easily guessed."""
    try:
        validate_password(password, user)
    except ValidationError as weak:
        errors = [FieldError(field=field, value=None, reason=reason) for reason in weak.messages]
        raise InvalidInput("This password is too easy to guess.", errors=errors) from None


class MoreThanSpaces:
    """Refuses a password without any visible character, however long it is."""

    def validate(self, password: str, user: object = None) -> None:
        if not is_seen(password):
            raise ValidationError(self.get_help_text())

    def get_help_text(self) -> str:
        return _("Your password can’t consist of spaces only.")

"""Rules for passwords, beside Django's."""

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from shop.text import is_seen


class MoreThanSpaces:
    """Refuses a password of which nothing can be seen, however long it is."""

    def validate(self, password: str, user: object = None) -> None:
        if not is_seen(password):
            raise ValidationError(self.get_help_text())

    def get_help_text(self) -> str:
        return _("Your password can’t consist of spaces only.")

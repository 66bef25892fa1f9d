"""E-mails of the embedded mode: appended to `var/mail.log`, where they can be read and do not fill the terminal."""

from collections.abc import Sequence

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

FILE = settings.VAR_DIR / "mail.log"


class EmailBackend(BaseEmailBackend):
    """Writes e-mails as a person would read them."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        with FILE.open("a", encoding="utf-8") as file:
            for mail in email_messages:
                file.write(f"To: {', '.join(mail.to)}\nSubject: {mail.subject}\n\n{mail.body}\n{'-' * 79}\n")
        return len(email_messages)

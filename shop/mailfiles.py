"""E-mails as files, for development: one each, named after its recipient's hash, so that they can be found and deleted.

`EMAIL_URL=filemail:` leads here; the directory is `settings.EMAIL_FILE_PATH`.
"""

import hashlib
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

BACKEND = "shop.mailfiles.EmailBackend"


class EmailBackend(BaseEmailBackend):
    """Writes a file for each recipient of each e-mail, readable only by the process's user."""

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        directory = Path(settings.EMAIL_FILE_PATH)
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        for message in email_messages:
            content = message.message().as_bytes()
            for recipient in message.recipients():
                path = directory / f"{_hash(recipient)}-{uuid4().hex}.eml"
                with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                    file.write(content + b"\n")
        return len(email_messages)


def delete(recipient: str) -> None:
    """Delete the e-mails to a recipient, if e-mails are files here."""
    if settings.EMAIL_BACKEND == BACKEND:
        for path in Path(settings.EMAIL_FILE_PATH).glob(f"{_hash(recipient)}-*.eml"):
            path.unlink(missing_ok=True)


def delete_older(before: datetime) -> int:
    """Delete the e-mails written before a time, if e-mails are files here; return the number of files."""
    if settings.EMAIL_BACKEND != BACKEND:
        return 0
    old = [path for path in Path(settings.EMAIL_FILE_PATH).glob("*.eml") if path.stat().st_mtime < before.timestamp()]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def _hash(recipient: str) -> str:
    return hashlib.sha256(recipient.lower().encode()).hexdigest()[:16]

"""The ways out: Django's e-mail backend, which may be an e-mail service's, and an interface for SMS providers."""

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from math import inf
from smtplib import SMTPRecipientsRefused, SMTPResponseException
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.utils.module_loading import import_string

logger = logging.getLogger(__name__)

# What a mail server answers about one message; the connection goes on. Every other error of the network ends it.
REFUSALS = (SMTPRecipientsRefused, SMTPResponseException)
# What an e-mail service answers that would be its answer to any other message, too.
OURS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)


class OutOfTime(Exception):
    """It was not sent, because the time for its portion is over: then another process may send it."""


class Sms(NamedTuple):
    """One SMS. `reference` is the same when it is sent once more."""

    to: str
    text: str
    reference: str


class SmsSender(Protocol):
    """An SMS provider. `settings.SMS_SENDER` names the class; it is made without arguments."""

    def send(self, *, to: str, text: str, reference: str) -> None:
        """Send one SMS; return when the provider has it, else raise.

        The same `reference` comes again when an SMS is sent a second time, for providers that drop duplicates.
        """


class PortionSender(SmsSender, Protocol):
    """An SMS provider that takes many with one request."""

    def send_portion(self, messages: Sequence[Sms]) -> Mapping[str, Exception]:
        """Send them; by reference, why each that the provider does not have was refused. Raises if it has none."""


class ConsoleSms:
    """For development: writes what would be sent to the log, the number without its middle."""

    def send(self, *, to: str, text: str, reference: str) -> None:
        logger.info("SMS to %s…%s: %s", to[:3], to[-2:], text)


def sms_sender() -> SmsSender:
    """The sender that `settings.SMS_SENDER` names."""
    return import_string(settings.SMS_SENDER)()


def send_portion(sender: SmsSender, messages: Sequence[Sms], *, seconds: float = inf) -> dict[str, Exception]:
    """Send text messages, with one request where the provider takes many; by reference, why some were not sent. After
    these seconds no other is begun."""
    if not messages:
        return {}
    together = getattr(sender, "send_portion", None)
    if together:
        try:
            return dict(together(messages))
        except Exception as error:  # whatever a provider's library raises: it concerns all of them
            return dict.fromkeys((one.reference for one in messages), error)
    errors: dict[str, Exception] = {}
    ends_at = time.monotonic() + seconds
    for one in messages:
        try:
            if time.monotonic() > ends_at:
                raise OutOfTime
            sender.send(**one._asdict())
        except Exception as error:  # likewise, but this one alone
            errors[one.reference] = error
    return errors


class Mailer:
    """One connection to the mail server, opened for the first e-mail and closed with the block.

    `away` is the error that says there is no server to talk to: what is left then fails at once for the same reason.
    After these seconds no other e-mail is begun.
    """

    def __init__(self, seconds: float = inf) -> None:
        self._connection = get_connection()
        self._ends_at = time.monotonic() + seconds
        self.away: Exception | None = None

    def send(self, *, to: str, subject: str, body: str, reference: str) -> None:
        """Send one e-mail, its Message-ID made of `reference`. Raises `OutOfTime`, and what Django's backend raises."""
        if self.away:
            raise self.away
        if time.monotonic() > self._ends_at:
            raise OutOfTime
        domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">")
        message = EmailMessage(
            subject, body, to=[to], headers={"Message-ID": f"<{reference}@{domain}>"}, connection=self._connection
        )
        try:
            opened = self._connection.open()
        except OSError as error:
            self.away = error
            raise
        try:
            self._connection.send_messages([message])
        except OSError as error:  # smtplib's and anymail's errors are OSErrors
            if not _is_refusal(error):
                self._close()  # the next e-mail opens another, unless this one was new
                self.away = error if opened else None
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        with suppress(OSError):  # it may be broken already
            self._connection.close()


def _is_refusal(error: OSError) -> bool:
    """Whether it concerns one message alone."""
    status = getattr(error, "status_code", None)  # of an e-mail service
    return isinstance(error, REFUSALS) or (status is not None and 400 <= status < 500 and status not in OURS)

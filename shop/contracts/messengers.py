"""The e-mail and SMS services that exist. The settings say which are used."""

from typing import NamedTuple


class EmailService(NamedTuple):
    """An e-mail service: its name in django-anymail, and the name of its key there."""

    title: str
    key: str = "api_key"


class SmsService(NamedTuple):
    """An SMS service: the class that sends with it, and its required options."""

    path: str
    required: tuple[str, ...]


# Those of django-anymail that need no further package, and report whether a bounce is permanent.
EMAIL_SERVICES: dict[str, EmailService] = {
    "brevo": EmailService("Brevo"),
    "mailgun": EmailService("Mailgun"),
    "postmark": EmailService("Postmark", "server_token"),
    "resend": EmailService("Resend"),
}
SMS_SERVICES: dict[str, SmsService] = {
    "solapi": SmsService("notifications.solapi.Solapi", ("key", "secret", "sender")),
}

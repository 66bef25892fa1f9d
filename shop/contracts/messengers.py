"""The services that e-mails and text messages can go through. Which do is for settings to say."""

from typing import NamedTuple


class EmailService(NamedTuple):
    """An e-mail service as django-anymail calls it, and what its key is called there."""

    title: str
    key: str = "api_key"


class SmsService(NamedTuple):
    """An SMS service: the class that sends by it, and the options that it cannot do without."""

    path: str
    required: tuple[str, ...]


# Those of django-anymail's that need no further package, and say of a bounce whether it is for good.
EMAIL_SERVICES: dict[str, EmailService] = {
    "brevo": EmailService("Brevo"),
    "mailgun": EmailService("Mailgun"),
    "postmark": EmailService("Postmark", "server_token"),
    "resend": EmailService("Resend"),
}
SMS_SERVICES: dict[str, SmsService] = {
    "solapi": SmsService("notifications.solapi.Solapi", ("key", "secret", "sender")),
}

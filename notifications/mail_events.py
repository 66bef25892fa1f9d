"""What the e-mail service reports of e-mails: those that came back for good, and those that were reported as spam.

django-anymail verifies a report and reads it, each service's in its own words. Whether a bounce is for good is a
service's own word, too; what may still arrive, or was refused for the message's sake, stops nothing.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.utils.module_loading import import_string
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from prometheus_client import Counter
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from notifications.models import Suppression
from notifications.suppressions import Stop, suppress
from shop.contracts.messengers import EMAIL_SERVICES

logger = logging.getLogger(__name__)

ADDRESS = re.compile(r"[^\s<>()\[\]:;,\"']+@[^\s<>()\[\]:;,\"']+")
Reason = Suppression.Reason
# What anymail raises for what is none of the service's reports.
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ImproperlyConfigured)

EVENTS = Counter("shop_email_events_total", "What the e-mail service has reported.", ["event"])

# By service, whether an event says that a mailbox is not there.
FOR_GOOD: Mapping[str, Callable[[Any], bool]] = {
    # https://developers.brevo.com/docs/transactional-webhooks
    "brevo": lambda event: event.esp_event["event"] in ("hard_bounce", "invalid_email"),
    # https://documentation.mailgun.com/docs/mailgun/user-manual/events/events; one for the time being is "deferred"
    "mailgun": lambda event: event.event_type == "bounced" and event.reject_reason == "bounced",
    # https://postmarkapp.com/developer/api/bounce-api#bounce-types
    "postmark": lambda event: event.esp_event.get("Type") in ("HardBounce", "BadEmailAddress"),
    # https://resend.com/docs/dashboard/emails/email-bounces
    "resend": lambda event: event.esp_event["data"].get("bounce", {}).get("type") == "Permanent",
}


class Forged(Exception):
    """A report is not the e-mail service's, or cannot be read."""


def read(request: HttpRequest) -> Sequence[Any]:
    """The events of a report, as anymail has them. Raises `Forged`."""
    from anymail.exceptions import AnymailError, AnymailWebhookValidationFailure

    if not settings.ANYMAIL.get("WEBHOOK_SECRET"):
        raise Forged("There is no EMAIL_SERVICE_WEBHOOK_SECRET.")
    title = EMAIL_SERVICES[settings.EMAIL_SERVICE].title
    view = import_string(f"anymail.webhooks.{settings.EMAIL_SERVICE}.{title}TrackingWebhookView")()
    try:
        view.run_validators(request)
        return list(view.parse_events(request))
    except (*UNREADABLE, AnymailError, AnymailWebhookValidationFailure) as error:
        raise Forged(type(error).__name__) from error


def take(events: Sequence[Any]) -> None:
    """Have nothing more sent to who cannot be reached, and to who has complained. Any number of times the same."""
    stops = []
    for event in events:
        EVENTS.labels(event.event_type).inc()
        if event.recipient and (reason := _reason(event)):
            words = " ".join(str(part) for part in (event.description, event.mta_response) if part)
            stops.append(Stop(event.recipient, reason, ADDRESS.sub("…", words.replace("\0", ""))))
    suppress(stops)


def _reason(event: Any) -> str:
    if event.event_type == "complained":
        return Reason.COMPLAINED
    if event.event_type in ("bounced", "rejected") and FOR_GOOD[settings.EMAIL_SERVICE](event):
        return Reason.BOUNCED
    return ""


class EmailServiceUser:
    """Who sent a report."""

    is_authenticated = True
    is_staff = False
    pk = id = None

    def __str__(self) -> str:
        return "the e-mail service"


class EmailServiceSignature(BaseAuthentication):
    """Lets in the configured e-mail service, verified as it says; the events that it tells of are `request.auth`."""

    def authenticate(self, request: Request) -> tuple[EmailServiceUser, Sequence[Any]]:
        try:
            return EmailServiceUser(), read(request._request)
        except Forged as error:
            logger.warning("A report to the e-mail service's webhook is refused: %s", error)
            raise AuthenticationFailed("The report is not the e-mail service's, or cannot be read.") from None

    def authenticate_header(self, request: Request) -> str:
        return 'Basic realm="e-mail events"'


class EmailServiceSignatureScheme(OpenApiAuthenticationExtension):
    """How the schema describes it."""

    target_class = EmailServiceSignature
    name = "emailServiceSignature"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        description = "`EMAIL_SERVICE_WEBHOOK_SECRET`, and the service's own signature where it has one."
        return {"type": "http", "scheme": "basic", "description": description}

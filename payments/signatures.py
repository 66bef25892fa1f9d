"""How a payment provider proves that a notification is its own: as each gateway's `read_notification` verifies it."""

import logging
from http import HTTPStatus

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from payments.gateways import Forged, Notification, UnknownGateway
from payments.gateways import gateway as gateway_named
from shop.api.problems import Problem

logger = logging.getLogger(__name__)


class NoSuchGateway(Problem):
    """There is no payment gateway of this name."""

    code = "PAY005"
    status_code = HTTPStatus.NOT_FOUND


class Provider:
    """The payment provider that has sent a notification."""

    is_authenticated = True
    is_staff = False
    pk = id = None

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway

    def __str__(self) -> str:
        return f"the payment gateway {self.gateway}"


class ProviderSignature(BaseAuthentication):
    """Lets in the provider of the gateway that the path names; what it tells is `request.auth`."""

    def authenticate(self, request: Request) -> tuple[Provider, Notification]:
        name = request.parser_context["kwargs"]["gateway"]
        headers = {header.lower(): value for header, value in request.headers.items()}
        try:
            return Provider(name), gateway_named(name).read_notification(headers, request.body)
        except UnknownGateway:
            raise NoSuchGateway(f"There is no payment gateway {name}.") from None
        except Forged as error:
            logger.warning("A notification for %s is refused: %s", name, error)
            raise AuthenticationFailed("The notification is not the provider's, or cannot be read.") from None

    def authenticate_header(self, request: Request) -> str:
        return "Provider-Signature"


class ProviderSignatureScheme(OpenApiAuthenticationExtension):
    """How the schema describes it: Stripe's header, say."""

    target_class = ProviderSignature
    name = "providerSignature"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        description = "As the provider says: Stripe-Signature with Stripe. Toss signs nothing, and is asked back."
        return {"type": "apiKey", "in": "header", "name": "Stripe-Signature", "description": description}

"""Tokens for programs: `POST /api/v1/oauth/token`, RFC 6749 with client credentials."""

import base64
from types import MappingProxyType
from typing import cast
from urllib.parse import unquote_plus

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import clients
from accounts.serializers import GrantedSerializer, GrantSerializer
from accounts.views import Public
from shop.api.parsers import FormParser
from shop.api.problems import Problem
from shop.api.throttles import TokenThrottle


class InvalidRequest(Problem):
    """A parameter is missing, or the client authenticates in two ways."""

    code = "C002"
    members = MappingProxyType({"error": "invalid_request"})


class UnsupportedGrantType(Problem):
    """The only grant type is client_credentials."""

    code = "C002"
    members = MappingProxyType({"error": "unsupported_grant_type"})


class ClientTokenView(Public):
    """Issues an access token to a program for its client id and secret: in the form, or as HTTP Basic authentication.

    Errors are problem documents with the `error` of RFC 6749. There is no refresh token: ask again.
    """

    serializer_class = GrantSerializer
    parser_classes = [FormParser]
    throttle_classes = [TokenThrottle]
    problems = {"POST": [clients.InvalidClient, clients.InvalidScope, InvalidRequest, UnsupportedGrantType]}

    @extend_schema(summary="An access token for a program", operation_id="oauth_token", responses=GrantedSerializer)
    def post(self, request: Request) -> Response:
        form = cast(dict[str, str], request.data)  # other parameters are to be ignored
        given = {name: form[name] for name in GrantSerializer().get_fields() if name in form}
        basic = _basic(request.META.get("HTTP_AUTHORIZATION", ""))
        if "grant_type" not in given or (basic and "client_secret" in given):
            raise InvalidRequest
        if given["grant_type"] != "client_credentials":
            raise UnsupportedGrantType
        client_id, secret = basic or (given.get("client_id", ""), given.get("client_secret", ""))
        granted = clients.grant(client_id=client_id, secret=secret, scope=given.get("scope", ""))
        return Response(granted._asdict(), headers={"Cache-Control": "no-store", "Pragma": "no-cache"})


def _basic(header: str) -> tuple[str, str] | None:
    """Return the client id and secret of HTTP Basic authentication (RFC 6749, 2.3.1); None if there is none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        raise clients.InvalidClient from None
    client_id, secret = unquote_plus(client_id), unquote_plus(secret)
    if "\0" in client_id:  # PostgreSQL has no such text
        raise clients.InvalidClient
    return client_id, secret

"""Authentication by bearer token.

A token contains all that a service needs to know about a user: id, role and permissions. So only accounts stores users.
"""

from functools import cached_property
from typing import Any

from django.http import HttpRequest
from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme
from rest_framework_simplejwt import authentication, models
from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.tokens import Token

STAFF, CUSTOMER = "staff", "customer"
SCHEME = "bearer "


class TokenUser(models.TokenUser):
    """The user that a token names. Like `accounts.User`, it has `id`, `pk`, `is_staff` and `has_perm`."""

    @property
    def id(self) -> int:  # type: ignore[override]
        return int(self.token["user_id"])

    @property
    def pk(self) -> int:  # type: ignore[override]
        return self.id

    @property
    def is_staff(self) -> bool:
        return self.token.get("role") == STAFF

    @property
    def client_id(self) -> str:
        """The OAuth client that the token was issued to; empty for a user's token."""
        return str(self.token.get("client_id", ""))

    @cached_property
    def scopes(self) -> frozenset[str]:
        """The permissions in the token's `scope` (RFC 9068); none unless the user is staff."""
        scope = self.token.get("scope", "")
        return frozenset(scope.split()) if self.is_staff and isinstance(scope, str) else frozenset()

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return perm in self.scopes

    def __str__(self) -> str:
        return f"client {self.client_id}" if self.client_id else f"user {self.id}"


def brings_token(request: HttpRequest) -> bool:
    """Whether a request carries a bearer token. The scheme is case-insensitive (RFC 9110, 11.1)."""
    return request.META.get("HTTP_AUTHORIZATION", "")[: len(SCHEME)].lower() == SCHEME


class BearerAuthentication(authentication.JWTStatelessUserAuthentication):
    """`Authorization: Bearer …`, verified without calling accounts."""

    def get_raw_token(self, header: bytes) -> bytes | None:
        scheme, space, token = header.partition(b" ")
        return super().get_raw_token(scheme.capitalize() + space + token)  # the library compares it case-sensitively

    def get_user(self, validated_token: Token) -> Any:
        if not str(validated_token.get("user_id", "")).isdecimal():
            raise InvalidToken("The token does not name a user.")
        return TokenUser(validated_token)


class BearerScheme(SimpleJWTScheme):
    """The scheme's description in the OpenAPI schema."""

    target_class = "shop.api.authentication.BearerAuthentication"
    name = "bearer"

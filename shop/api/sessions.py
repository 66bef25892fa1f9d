"""Middleware that only pages need, skipped for API requests with a token: programs send those, not browsers.

`shop.api.authentication` authenticates them by their token alone.
"""

from typing import Any

from csp.middleware import CSPMiddleware as Policy
from django.contrib.auth.middleware import AuthenticationMiddleware as Authentication
from django.contrib.messages.middleware import MessageMiddleware as Message
from django.contrib.sessions.middleware import SessionMiddleware as Session
from django.http import HttpRequest

from shop.api.authentication import brings_token


class _UnlessToken:
    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if request.path.startswith("/api/") and brings_token(request):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]


class PolicyMiddleware(_UnlessToken, Policy):
    """`Content-Security-Policy`."""


class SessionMiddleware(_UnlessToken, Session):
    """`request.session`."""


class AuthenticationMiddleware(_UnlessToken, Authentication):
    """`request.user`, from the session."""


class MessageMiddleware(_UnlessToken, Message):
    """Messages for the next page."""

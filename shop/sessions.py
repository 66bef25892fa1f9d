"""Sessions, who has signed in with one, and messages: for those who come without a token.

A request to the API that brings a token is answered by that alone (`shop.api.authentication`), so it passes these by.
"""

from typing import Any

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


class SessionMiddleware(_UnlessToken, Session):
    """`request.session`."""


class AuthenticationMiddleware(_UnlessToken, Authentication):
    """`request.user`, of the session."""


class MessageMiddleware(_UnlessToken, Message):
    """What the next page is to tell."""

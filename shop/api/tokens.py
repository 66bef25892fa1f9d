"""Access and refresh tokens. Each names its signing key, so keys can be rotated while old tokens stay valid.

A process without the private key (`JWT_PUBLIC_KEY` only) can verify tokens but not issue them.
"""

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from rest_framework_simplejwt import tokens
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError

from shop.api.keys import key_id, public_keys

REMEMBERED = 4096  # verified tokens to cache; expiry is still checked each time


class Backend(TokenBackend):
    """Signs with the private key, and verifies with the public key that the token's `kid` names."""

    @cached_property
    def keys(self) -> dict[str, Ed25519PublicKey]:
        return public_keys(self.verifying_key)

    @cached_property
    def signing_key_id(self) -> str:
        if not self.signing_key:
            raise ImproperlyConfigured("Without JWT_PRIVATE_KEY this process can verify tokens but not issue them.")
        return key_id(self.prepared_signing_key.public_key())

    def encode(self, payload: dict[str, Any]) -> str:
        claims = payload | {"iss": self.issuer}
        headers = {"kid": self.signing_key_id}
        return jwt.encode(claims, self.prepared_signing_key, algorithm=self.algorithm, headers=headers)

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        """The claims of a valid token. Verified signatures are cached, as a client sends the same token repeatedly."""
        return dict(self._decoded(token)) if verify else super().decode(token, verify=False)

    @cached_property
    def _decoded(self) -> Callable[[Any], dict[str, Any]]:
        return lru_cache(REMEMBERED)(super().decode)

    def get_verifying_key(self, token: Any) -> Ed25519PublicKey:
        try:
            return self.keys[jwt.get_unverified_header(token)["kid"]]
        except (jwt.InvalidTokenError, KeyError, TypeError) as error:
            raise TokenBackendError("The token names an unknown key.") from error


def _backend() -> Backend:
    rules = settings.SIMPLE_JWT
    return Backend(rules["ALGORITHM"], rules["SIGNING_KEY"], rules["VERIFYING_KEY"], issuer=rules["ISSUER"])


backend = _backend()


class _Ours:
    def get_token_backend(self) -> Backend:
        return backend


class AccessToken(_Ours, tokens.AccessToken):
    """Authenticates a client's calls."""


class RefreshToken(_Ours, tokens.RefreshToken):  # type: ignore[misc]  # as in the library
    """Exchanged once for the next pair of tokens."""

    access_token_class = AccessToken

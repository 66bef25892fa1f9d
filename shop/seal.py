"""Sealing: encrypts data that only one service may read, so that it can cross the broker.

An address and a payment token must travel with their order, but queues, Flower and dead letters can be read by people
who must not see them. A sealed text can be opened only by a service with the same secret, and only as the same kind of
value of the same order: copied into another order's event, it cannot be opened.
"""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from enum import StrEnum
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

PURPOSE = b"shop: personal data in events"  # so that the key is of no use anywhere else the secret is used
SEALED = "sealed:"  # what every sealed text begins with
NONCE = 12  # bytes, random: good for four billion texts under one secret (NIST SP 800-38D, 8.3)


class What(StrEnum):
    """The kind of value that a text was sealed as. It cannot be opened as another kind."""

    ADDRESS = "address"
    PAYMENT_TOKEN = "payment token"  # noqa: S105  # nosec B105


def seal(text: str, what: What, *, order_id: int) -> str:
    """Encrypt `text` for `unseal`, with the first secret of the ring. The result is different each time."""
    nonce = os.urandom(NONCE)
    sealed = _cipher_of(settings.SEAL_KEYS[0]).encrypt(nonce, text.encode(), _bound(what, order_id))
    return SEALED + urlsafe_b64encode(nonce + sealed).decode()


def is_sealed(text: str) -> bool:
    return text.startswith(SEALED)


def unseal(token: str, what: What, *, order_id: int) -> str:
    """Decrypt what `seal` returned, with any secret of the ring. Raises ValueError for anything else, such as a text
    sealed for another order."""
    try:
        sealed = urlsafe_b64decode(token.removeprefix(SEALED).encode()) if is_sealed(token) else b""
    except ValueError:  # no base64
        sealed = b""
    for secret in settings.SEAL_KEYS:
        try:
            return _cipher_of(secret).decrypt(sealed[:NONCE], sealed[NONCE:], _bound(what, order_id)).decode()
        except (ValueError, InvalidTag):  # too short, or not under this key
            continue
    raise ValueError(f"This was not sealed with our secret, as the {what} of order {order_id}.")


def _bound(what: What, order_id: int) -> bytes:
    return f"{what} of order {order_id}".encode()


@lru_cache(maxsize=8)
def _cipher_of(secret: str) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode()))

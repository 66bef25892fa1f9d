"""Sealing: how personal data crosses the broker.

An address must travel with its order, but queues, Flower and dead letters can be read by people who have no business
with it. Sealed, it is text that only a service with the same secret can open.
"""

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

PURPOSE = b"shop: personal data in events"  # so that the key is of no use anywhere else the secret is used
NONCE = 12  # bytes, random: good for four billion texts under one secret (NIST SP 800-38D, 8.3)


def seal(text: str) -> str:
    """`text`, readable only by `unseal`; different each time."""
    nonce = os.urandom(NONCE)
    return urlsafe_b64encode(nonce + _cipher().encrypt(nonce, text.encode(), None)).decode()


def unseal(token: str) -> str:
    """The text that `seal` sealed. Raises ValueError for anything else, also for what another secret sealed."""
    try:
        sealed = urlsafe_b64decode(token.encode())
        return _cipher().decrypt(sealed[:NONCE], sealed[NONCE:], None).decode()
    except (ValueError, InvalidTag):  # no base64, too short, or not under this key
        raise ValueError("This was not sealed with our secret.") from None


def _cipher() -> AESGCM:
    return _cipher_of(settings.SEAL_KEY or settings.SECRET_KEY)


@lru_cache(maxsize=4)
def _cipher_of(secret: str) -> AESGCM:
    return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode()))

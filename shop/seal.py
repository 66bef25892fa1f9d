"""Sealing: how personal data crosses the broker.

An address must travel with its order, but queues, Flower and dead letters can be read by people who have no business
with it. Sealed, it is text that only a service with the same secret can open.
"""

from base64 import urlsafe_b64encode
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

PURPOSE = b"shop: personal data in events"  # so that the key is of no use anywhere else the secret is used


def seal(text: str) -> str:
    """`text`, readable only by `unseal`; different each time."""
    return _fernet(settings.SEAL_KEY or settings.SECRET_KEY).encrypt(text.encode()).decode()


def unseal(token: str) -> str:
    """The text that `seal` sealed. Raises ValueError for anything else, also for what another secret sealed."""
    try:
        return _fernet(settings.SEAL_KEY or settings.SECRET_KEY).decrypt(token.encode()).decode()
    except InvalidToken:
        raise ValueError("This was not sealed with our secret.") from None


@lru_cache(maxsize=4)
def _fernet(secret: str) -> Fernet:
    key = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())
    return Fernet(urlsafe_b64encode(key))

"""What messages are signed with: a secret per subscription, kept encrypted with the ring of SECRET_KEY."""

import secrets
from base64 import b64encode, urlsafe_b64encode
from functools import lru_cache

from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

BYTES = 32  # of a secret; the specification asks for 24 to 64
PREFIX = "whsec_"
PURPOSE = b"shop: secrets of webhooks"


def new_secret() -> str:
    """A secret as subscribers and the library write it."""
    return PREFIX + b64encode(secrets.token_bytes(BYTES)).decode()


def encrypted(secret: str) -> str:
    return _ring(tuple(_keys())).encrypt(secret.encode()).decode()


def decrypted(text: str) -> str:
    """Raises `cryptography.fernet.InvalidToken` for what was encrypted with no key of the ring."""
    return _ring(tuple(_keys())).decrypt(text.encode()).decode()


def _keys() -> list[str]:
    return [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]


@lru_cache(maxsize=4)
def _ring(keys: tuple[str, ...]) -> MultiFernet:
    derived = (HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(key.encode()) for key in keys)
    return MultiFernet([Fernet(urlsafe_b64encode(key)) for key in derived])

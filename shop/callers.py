"""The keys with which services authenticate their callers: an Ed25519 key for each, written as 64 hexadecimal digits.

A called service holds public keys only, so it can verify its callers but cannot impersonate them.
"""

import re
from collections.abc import Iterable, Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY = re.compile("[0-9a-f]{64}")


def derived_key(secret: str, caller: str) -> str:
    """Derive a caller's private key from a secret, for development machines."""
    purpose = f"shop: calls of {caller}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(secret.encode()).hex()


def public_part(private: str) -> str:
    """Return the public key of a private key. Raises ValueError if it is invalid."""
    return signing_key(private).public_key().public_bytes_raw().hex()


def signing_key(private: str) -> Ed25519PrivateKey:
    """Parse a private key. Raises ValueError if it is invalid."""
    return Ed25519PrivateKey.from_private_bytes(_raw(private))


def rings(entries: Iterable[str]) -> Mapping[str, tuple[Ed25519PublicKey, ...]]:
    """Parse `caller=public key` entries; return each caller's public keys. Raises ValueError for an invalid entry."""
    found: dict[str, tuple[Ed25519PublicKey, ...]] = {}
    for entry in entries:
        caller, _, public = entry.partition("=")
        found[caller] = (*found.get(caller, ()), Ed25519PublicKey.from_public_bytes(_raw(public)))
    return found


def known_by(known: Mapping[str, tuple[Ed25519PublicKey, ...]], caller: str, private: str) -> bool:
    """Whether what is signed with a private key is taken for its caller's. Raises ValueError for what is none."""
    return signing_key(private).public_key() in known.get(caller, ())


def _raw(key: str) -> bytes:
    if not KEY.fullmatch(key):
        raise ValueError("A key is 64 hexadecimal digits.")
    return bytes.fromhex(key)

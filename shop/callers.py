"""The keys by which services know who calls them: an Ed25519 key for each caller, written as 64 hexadecimal digits.

Whoever answers holds public keys only, so that it knows its callers and cannot pass for any of them.
"""

import re
from collections.abc import Iterable, Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY = re.compile("[0-9a-f]{64}")


def derived_key(secret: str, caller: str) -> str:
    """A caller's private key made from a secret, for development machines."""
    purpose = f"shop: calls of {caller}".encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(secret.encode()).hex()


def public_part(private: str) -> str:
    """The public key of a private one. Raises ValueError for what is none."""
    return signing_key(private).public_key().public_bytes_raw().hex()


def signing_key(private: str) -> Ed25519PrivateKey:
    """Raises ValueError for what is no private key."""
    return Ed25519PrivateKey.from_private_bytes(_raw(private))


def rings(entries: Iterable[str]) -> Mapping[str, tuple[Ed25519PublicKey, ...]]:
    """Of `caller=public key` entries, the public keys of each caller. Raises ValueError for what is no such entry."""
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

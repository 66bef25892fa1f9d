"""The keys of access tokens: Ed25519, so that services can verify tokens without being able to issue them."""

import base64
import json
import re
from hashlib import sha256

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE = b"shop: signing of access tokens"  # separates this key from others derived from the same secret
PEM = re.compile(r"-----BEGIN ([A-Z ]+)-----.+?-----END \1-----", re.DOTALL)


def derived_private_key(secret: str) -> str:
    """A private key (PEM) derived from a secret; always the same for the same secret."""
    seed = HKDF(algorithm=SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())
    return (
        Ed25519PrivateKey.from_private_bytes(seed)
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )


def public_key(private_key: str) -> str:
    """The public key (PEM) of a private key. Raises ValueError for an invalid key."""
    key = serialization.load_pem_private_key(private_key.encode(), password=None)
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def public_keys(pems: str) -> dict[str, Ed25519PublicKey]:
    """The public keys in one or more PEM blocks, by key id, in order.

    Raises ValueError if there is none, or if one is not an Ed25519 key.
    """
    keys = [serialization.load_pem_public_key(block[0].encode()) for block in PEM.finditer(pems)]
    if not keys or not all(isinstance(key, Ed25519PublicKey) for key in keys):
        raise ValueError("Give Ed25519 public keys as PEM.")
    return {key_id(key): key for key in keys if isinstance(key, Ed25519PublicKey)}


def key_id(key: Ed25519PublicKey) -> str:
    """A key's id in tokens and in the key set: its thumbprint (RFC 7638)."""
    members = {name: value for name, value in sorted(_jwk(key).items()) if name in ("crv", "kty", "x")}
    return _base64url(sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def key_set(pems: str) -> dict[str, list[dict[str, str]]]:
    """The JSON Web Key Set (RFC 7517, RFC 8037) with which anybody can verify our tokens."""
    described = {"use": "sig", "alg": "EdDSA"}
    return {"keys": [_jwk(key) | described | {"kid": kid} for kid, key in public_keys(pems).items()]}


def _jwk(key: Ed25519PublicKey) -> dict[str, str]:
    return {"kty": "OKP", "crv": "Ed25519", "x": _base64url(key.public_bytes_raw())}


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

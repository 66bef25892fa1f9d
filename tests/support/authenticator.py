"""An authenticator as a phone has it, in software: ES256, no attestation, one passkey per call of `make`."""

import hashlib
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from os import urandom
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40  # flags


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


class Authenticator:
    """Answers a page's options as a browser would that is at `origin`."""

    def __init__(self, origin: str) -> None:
        self.origin, self.count = origin, 0
        self.id = urandom(16)
        self.key = ec.generate_private_key(ec.SECP256R1())

    def make(self, options: dict[str, Any], **other: Any) -> str:
        """What `navigator.credentials.create` gives; `other` replaces parts of the answer."""
        point = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
        about = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cbor2.dumps(cose)
        data = self._data(options["rp"]["id"], ATTESTED) + about
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        client = self._client("webauthn.create", options)
        return self._answer({"clientDataJSON": _text(client), "attestationObject": _text(attestation)} | other)

    def show(self, options: dict[str, Any], **other: Any) -> str:
        """What `navigator.credentials.get` gives."""
        self.count += 1
        data, client = self._data(options["rpId"]), self._client("webauthn.get", options)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        parts = {"clientDataJSON": client, "authenticatorData": data, "signature": signature}
        return self._answer({name: _text(value) for name, value in parts.items()} | other)

    def _data(self, domain: str, flags: int = 0) -> bytes:
        flag = (PRESENT | VERIFIED | flags).to_bytes(1, "big")
        return hashlib.sha256(domain.encode()).digest() + flag + self.count.to_bytes(4, "big")

    def _client(self, kind: str, options: dict[str, Any]) -> bytes:
        challenge = _text(urlsafe_b64decode(options["challenge"] + "=="))
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()

    def _answer(self, response: dict[str, Any]) -> str:
        known = {"id": _text(self.id), "rawId": _text(self.id), "type": "public-key"}
        return json.dumps(known | {"response": response, "clientExtensionResults": {}})

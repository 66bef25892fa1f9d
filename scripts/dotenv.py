#!/usr/bin/env python3
"""Write .env for docker-compose.yml: .env.example with a fresh secret wherever one is required.

The only argument is the file to write, by default .env in the checkout. An existing file is not changed.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization as pem
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ROOT = Path(__file__).resolve().parent.parent


def filled_in(example: str) -> str:
    """Return the example with a value for each variable of its required part."""
    optional = example.index("# --- Optional")
    made = dict(_key_pair()) | dict(_callers(example))

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name == "FLOWER_BASIC_AUTH":
            return f"{name}=admin:{secrets.token_hex(16)}"
        return f"{name}={made.get(name) or secrets.token_hex(32)}"

    return re.sub(r"^(\w+)=$", value, example[:optional], flags=re.MULTILINE) + example[optional:]


def _key_pair() -> Iterator[tuple[str, str]]:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption())
    public = key.public_key().public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
    yield "JWT_PRIVATE_KEY", private.decode().replace("\n", r"\n")
    yield "JWT_PUBLIC_KEY", public.decode().replace("\n", r"\n")


def _callers(example: str) -> Iterator[tuple[str, str]]:
    """Yield the private keys of the services that call others, and all public keys for every service.

    The callers are the services that have a key in the example.
    """
    callers = re.findall(r"^(\w+)_INTERNAL_KEY=$", example, flags=re.MULTILINE)
    private = {caller.lower(): secrets.token_bytes(32) for caller in callers}
    public = {
        caller: Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw().hex()
        for caller, key in private.items()
    }
    yield "INTERNAL_CALLERS", ",".join(f"{caller}={key}" for caller, key in public.items())
    for caller, key in private.items():
        yield f"{caller.upper()}_INTERNAL_KEY", key.hex()


def main(path: Path) -> int:
    text = filled_in((ROOT / ".env.example").read_text())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
    except FileExistsError:
        print(f"{path} is there already, and stays as it is.", file=sys.stderr)
        return 1
    print(f"Wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / ".env"))

"""What both sides of a call agree on: address, encoding, declared errors, signature.

    POST /internal/accounts/AccountsService/get_users    {"user_ids": [7, 8]}
    200  {"7": {"id": 7, …}}                        the method's result
    422  {"error": "UnknownUser", "detail": "…"}    an error that the contract's module declares

Arguments and results are encoded as JSON, typed by the annotations of the contract's methods.
"""

import inspect
import re
import secrets
import sys
import time
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings

from shop.callers import signing_key
from shop.contracts.errors import ContractError

WINDOW = 30  # seconds that a request's timestamp may lie in the past, or by clock skew in the future
CALLER, TIMESTAMP = "X-Internal-Caller", "X-Internal-Timestamp"
NONCE, SIGNATURE = "X-Internal-Nonce", "X-Internal-Signature"


def path_of(contract: Any, method: str, service: str) -> str:
    return f"/internal/{service}/{contract.__name__}/{method}"


# --- Encoding -------------------------------------------------------------------------------------------------------
class Declared(msgspec.Struct):
    """A declared error on the wire."""

    error: str
    detail: str


class Method:
    """One method of a contract."""

    def __init__(self, function: Any) -> None:
        hints = typing.get_type_hints(function)
        self._result: Any = hints.pop("return")
        parameters = list(inspect.signature(function).parameters.values())[1:]
        self._signature = inspect.Signature(parameters)
        fields = [
            (one.name, hints[one.name], *(() if one.default is one.empty else (one.default,))) for one in parameters
        ]
        self._arguments = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)

    def encode_arguments(self, *args: Any, **kwargs: Any) -> bytes:
        """Raises TypeError for arguments that the method does not accept."""
        bound = self._signature.bind(*args, **kwargs).arguments
        return msgspec.json.encode(self._arguments(**bound), enc_hook=list)  # list: for a range or a dict's keys

    def decode_arguments(self, body: bytes) -> dict[str, Any]:
        """Raises msgspec.MsgspecError."""
        return msgspec.structs.asdict(msgspec.json.decode(body, type=self._arguments))

    def decode_result(self, body: bytes) -> Any:
        """Raises msgspec.MsgspecError."""
        return msgspec.json.decode(body, type=self._result)


@cache
def methods_of(contract: Any) -> Mapping[str, Method]:
    """The methods of a contract, by name."""
    return {name: Method(function) for name, function in functions_of(contract).items()}


def functions_of(contract: Any) -> Mapping[str, Any]:
    """The functions that declare a contract's methods, by name."""
    return {name: one for name, one in vars(contract).items() if inspect.isfunction(one) and name[0] != "_"}


@cache
def errors_of(contract: Any) -> Mapping[str, type[ContractError]]:
    """The errors declared in a contract's module, by name."""
    declared = vars(sys.modules[contract.__module__]).values()
    return {one.__name__: one for one in declared if inspect.isclass(one) and one.__module__ == contract.__module__
            and issubclass(one, ContractError)}  # fmt: skip


# --- Signature ------------------------------------------------------------------------------------------------------
class BadSignature(Exception):
    """The request is not signed by the service that it names, is too old, or was sent before."""


def sign(path: str, body: bytes) -> dict[str, str]:
    """Headers that sign a POST request of this service: Ed25519 over method, path, caller, time, nonce and body."""
    caller, timestamp, nonce = settings.SHOP_SERVICE, str(int(time.time())), secrets.token_hex(16)
    signature = signing_key(settings.INTERNAL_KEY).sign(_message(path, caller, timestamp, nonce, body))
    return {CALLER: caller, TIMESTAMP: timestamp, NONCE: nonce, SIGNATURE: signature.hex()}


def verify(path: str, headers: Mapping[str, str], body: bytes) -> tuple[str, str]:
    """Check a request's signature and age; return its caller and its nonce. Raises `BadSignature`."""
    caller, timestamp, nonce, given = (headers.get(name, "") for name in (CALLER, TIMESTAMP, NONCE, SIGNATURE))
    message = _message(path, caller, timestamp, nonce, body)
    if not any(_signed_with(key, given, message) for key in settings.INTERNAL_CALLERS.get(caller, ())):
        raise BadSignature("The signature is not the caller's.")
    if not re.fullmatch("[0-9]{1,15}", timestamp) or abs(time.time() - int(timestamp)) > WINDOW:
        raise BadSignature(f"The request was not signed within the last {WINDOW} seconds.")
    return caller, nonce


def _message(path: str, caller: str, timestamp: str, nonce: str, body: bytes) -> bytes:
    return f"POST\n{path}\n{caller}\n{timestamp}\n{nonce}\n".encode() + body


def _signed_with(key: Ed25519PublicKey, signature: str, message: bytes) -> bool:
    try:
        key.verify(bytes.fromhex(signature), message)
    except (InvalidSignature, ValueError):
        return False
    return True

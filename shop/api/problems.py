"""`Problem`, the exception behind a problem document. The codes are in `error_codes.py`.

A service declares its refusals beside the functions that raise them:

    class EmailTaken(Problem):
        '''There is already an account with this e-mail address.'''

        code = "U002"

    raise EmailTaken                          # the client reads the docstring
    raise EmailTaken("… with a@b.example")    # or something more precise
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from inspect import cleandoc
from types import MappingProxyType
from typing import Any, ClassVar, TypedDict

from rest_framework.exceptions import APIException

from shop.api.error_codes import CODES
from shop.contracts.errors import ContractError


class FieldError(TypedDict):
    """What is wrong with one field: its path ("items[0].quantity"), the value sent, and the reason."""

    field: str
    value: Any
    reason: str


class Problem(APIException):
    """Something went wrong on our side."""

    code: ClassVar[str] = "C001"
    errors: tuple[FieldError, ...] = ()
    members: Mapping[str, Any] = MappingProxyType({})  # extension members of the document (RFC 9457, 3.2)
    wait: float | None = None  # seconds, sent as Retry-After
    detail: str  # type: ignore[assignment]  # narrower than the base class

    def __init_subclass__(cls) -> None:
        if "code" in cls.__dict__ and "status_code" not in cls.__dict__:
            cls.status_code = CODES[cls.code].status  # KeyError at import for an unknown code

    def __init__(self, detail: str = "", *, errors: Sequence[FieldError] = ()) -> None:
        self.detail = detail or cleandoc(type(self).__doc__ or "").partition("\n\n")[0]
        self.errors = tuple(errors)
        Exception.__init__(self, self.detail)


class InvalidInput(Problem):
    """The request is not valid."""

    code = "C002"


class TooLarge(Problem):
    """The body is larger than this API accepts."""

    code = "C002"
    status_code = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class NotThere(Problem):
    """There is nothing at this address."""

    code = "C010"


class TemporarilyUnavailable(Problem):
    """Something this needs is away for the moment. Please try again."""

    code = "C008"
    wait = 3


def problem_for(declared: type[ContractError]) -> type[Problem]:
    """The problem for an error that a contract declares, with its name, code and text."""
    return type(declared.__name__, (Problem,), {"__doc__": declared.__doc__, "code": declared.code})

"""Every error code of the API, and `Problem`, the exception behind a problem document.

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
from typing import Any, ClassVar, NamedTuple, TypedDict

from rest_framework.exceptions import APIException

from shop.contracts.errors import ContractError


class Code(NamedTuple):
    status: HTTPStatus  # unless the exception sets another
    title: str


CODES: Mapping[str, Code] = {
    "C001": Code(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error"),
    "C002": Code(HTTPStatus.BAD_REQUEST, "Invalid input"),
    "C003": Code(HTTPStatus.METHOD_NOT_ALLOWED, "Method not allowed"),
    "C004": Code(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Unsupported media type"),
    "C005": Code(HTTPStatus.FORBIDDEN, "Forbidden"),
    "C006": Code(HTTPStatus.UNAUTHORIZED, "Not authenticated"),
    "C007": Code(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests"),
    "C008": Code(HTTPStatus.SERVICE_UNAVAILABLE, "Temporarily unavailable"),
    "C009": Code(HTTPStatus.CONFLICT, "Idempotency conflict"),
    "C010": Code(HTTPStatus.NOT_FOUND, "No such address"),
    "U001": Code(HTTPStatus.NOT_FOUND, "No such user"),
    "U002": Code(HTTPStatus.CONFLICT, "E-mail address taken"),
    "P001": Code(HTTPStatus.NOT_FOUND, "No such product"),
    "P002": Code(HTTPStatus.BAD_REQUEST, "Product not on sale"),
    "P004": Code(HTTPStatus.BAD_REQUEST, "Invalid price"),
    "O001": Code(HTTPStatus.NOT_FOUND, "No such order"),
    "O002": Code(HTTPStatus.CONFLICT, "Order already cancelled"),
    "O003": Code(HTTPStatus.CONFLICT, "Order cannot be cancelled now"),
    "PAY001": Code(HTTPStatus.NOT_FOUND, "No such payment"),
    "PAY002": Code(HTTPStatus.CONFLICT, "Payment declined"),
    "PAY003": Code(HTTPStatus.CONFLICT, "Payment already refunded"),
    "PAY005": Code(HTTPStatus.BAD_REQUEST, "Unknown payment gateway"),
    "I001": Code(HTTPStatus.NOT_FOUND, "No stock record"),
    "I002": Code(HTTPStatus.CONFLICT, "Insufficient stock"),
    "D001": Code(HTTPStatus.NOT_FOUND, "No such delivery"),
    "D002": Code(HTTPStatus.CONFLICT, "Delivery already started"),
}

# The codes of error responses that were not raised as a Problem.
CODE_OF_STATUS: Mapping[int, str] = {
    401: "C006",
    403: "C005",
    404: "C010",
    405: "C003",
    406: "C004",
    415: "C004",
    429: "C007",
    503: "C008",
}


class FieldError(TypedDict):
    """What is wrong with one field: its path ("items[0].quantity"), the value sent, and the reason."""

    field: str
    value: Any
    reason: str


class Problem(APIException):
    """Something went wrong on our side."""

    code: ClassVar[str] = "C001"
    errors: tuple[FieldError, ...] = ()
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


def code_of_status(status: int) -> str:
    """The code for an HTTP status without one of its own."""
    return CODE_OF_STATUS.get(status, "C001" if status >= 500 else "C002")

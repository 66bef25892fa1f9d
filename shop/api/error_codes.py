"""Every error code of the API: the HTTP status that goes with it, and its title."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple


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
    "U003": Code(HTTPStatus.NOT_FOUND, "No such link"),
    "U004": Code(HTTPStatus.CONFLICT, "Account of staff"),
    "P001": Code(HTTPStatus.NOT_FOUND, "No such product"),
    "P002": Code(HTTPStatus.BAD_REQUEST, "Product not on sale"),
    "P004": Code(HTTPStatus.BAD_REQUEST, "Invalid price"),
    "O001": Code(HTTPStatus.NOT_FOUND, "No such order"),
    "O002": Code(HTTPStatus.CONFLICT, "Order already cancelled"),
    "O003": Code(HTTPStatus.CONFLICT, "Order cannot be cancelled now"),
    "O004": Code(HTTPStatus.CONFLICT, "Total changed"),
    "O005": Code(HTTPStatus.CONFLICT, "Order cannot be changed"),
    "O006": Code(HTTPStatus.CONFLICT, "Another change under way"),
    "O007": Code(HTTPStatus.CONFLICT, "Nothing was paid for this order"),
    "R001": Code(HTTPStatus.NOT_FOUND, "No such return"),
    "R002": Code(HTTPStatus.CONFLICT, "Order not delivered, or not paid"),
    "R003": Code(HTTPStatus.CONFLICT, "Too late to return"),
    "R004": Code(HTTPStatus.CONFLICT, "Not so many pieces to return"),
    "R005": Code(HTTPStatus.CONFLICT, "Not possible with this return now"),
    "R006": Code(HTTPStatus.CONFLICT, "Exchange for another price"),
    "R007": Code(HTTPStatus.CONFLICT, "Order was given in exchange"),
    "PAY001": Code(HTTPStatus.NOT_FOUND, "No such payment"),
    "PAY002": Code(HTTPStatus.CONFLICT, "Payment declined"),
    "PAY003": Code(HTTPStatus.CONFLICT, "Payment already refunded"),
    "PAY005": Code(HTTPStatus.BAD_REQUEST, "Unknown payment gateway"),
    "I001": Code(HTTPStatus.NOT_FOUND, "No stock record"),
    "I002": Code(HTTPStatus.CONFLICT, "Insufficient stock"),
    "I003": Code(HTTPStatus.NOT_FOUND, "No such location"),
    "D001": Code(HTTPStatus.NOT_FOUND, "No such delivery"),
    "W001": Code(HTTPStatus.NOT_FOUND, "No such webhook"),
    "W002": Code(HTTPStatus.NOT_FOUND, "No such message"),
    "W003": Code(HTTPStatus.CONFLICT, "Too many webhooks"),
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


def code_of_status(status: int) -> str:
    """Return the code for an error response that was not raised as a Problem."""
    return CODE_OF_STATUS.get(status, "C001" if status >= 500 else "C002")

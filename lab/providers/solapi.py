"""A stand-in for SOLAPI: text messages, a group for each request, signed with HMAC.

Written from https://developers.solapi.com/references/authentication/api-key (the header, 15 minutes for a signature, a
salt once), …/references/messages/sendManyDetail (limits, responses) and …/references/message-status-codes.
"""

import hashlib
import hmac
import re
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from typing import Any

from lab.providers.server import Problem, Request, Response, Route, StandIn

API_KEY, API_SECRET = "NCSSTANDIN", "secret of the stand-in"  # nosec B105 (known to everybody)
SENDER = "0212345678"  # the one number that is registered
GOOD_FOR = timedelta(minutes=15)  # a signature
MOST = 10_000  # messages of one request
SHORT, LONG = 90, 2000  # bytes of an SMS and of an LMS, a Hangul syllable having two
CREDENTIALS = re.compile(r"HMAC-SHA256 ApiKey=(\S+), Date=(\S+), salt=(\S+), signature=(\S+)")
TAKEN, UNREGISTERED = ("2000", "정상 접수"), ("1062", "발신번호 미등록")


class Solapi(StandIn):
    """One account. `balance` is the number of messages that it can pay for."""

    name = "solapi"
    balance = 1_000_000

    def routes(self) -> list[Route]:
        return [Route("POST", "/messages/v4/send-many/detail", "send", self._send)]

    @property
    def sent(self) -> list[dict[str, Any]]:
        """Return the messages that it has accepted."""
        return [one for one in self.books.all("message") if one["statusCode"] == TAKEN[0]]

    def check(self, request: Request) -> None:
        given = CREDENTIALS.fullmatch(request.headers.get("authorization", ""))
        if given is None:
            raise _error(401, "Unauthorized", "There is no such way to sign in.")
        key, date, salt, signature = given.groups()
        if key != API_KEY:
            raise _error(403, "InvalidAPIKey", "There is no such key.")
        if abs(datetime.now(UTC) - datetime.fromisoformat(date)) > GOOD_FOR:
            raise _error(403, "RequestTimeTooSkewed", "The clocks differ too much.")
        wanted = hmac.new(API_SECRET.encode(), (date + salt).encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(wanted, signature):
            raise _error(403, "SignatureDoesNotMatch", "The signature is another one's.")
        if self.books.get("salt", salt):
            raise _error(403, "DuplicatedSignature", "The signature was used before.")
        self.books.put("salt", salt, True)

    def _send(self, request: Request) -> Response:
        asked = request.json.get("messages")
        if not isinstance(asked, list) or not 0 < len(asked) <= MOST:
            raise _error(400, "ValidationError", f"messages: 1 to {MOST}")
        for one in asked:
            if not re.fullmatch(r"0\d{8,11}", str(one.get("to"))):
                raise _error(400, "ValidationError", f"to: {one.get('to')} is no number")
            if not one.get("text") or _size(one["text"]) > LONG:
                raise _error(400, "ValidationError", f"text: 1 to {LONG} bytes")
        if len(asked) > self.balance:
            raise _error(402, "NotEnoughBalance", "There is not enough money.")
        if not request.json.get("allowDuplicates"):  # one message to each number: the last one
            asked = list({one["to"]: one for one in asked}.values())
        group = f"G4V{token_hex(14)}"
        messages = [self._message(one, group) for one in asked]
        for message in messages:
            self.books.put("message", message["messageId"], message)
        taken = [one for one in messages if one["statusCode"] == TAKEN[0]]
        self.balance -= len(taken)
        shown = ("messageId", "statusCode", "statusMessage", "customFields")
        answer = {
            "failedMessageList": [one for one in messages if one not in taken],
            "groupInfo": _group(group, len(messages), len(taken)),
        }
        if request.json.get("showMessageList"):
            answer["messageList"] = [{name: one[name] for name in shown} for one in taken]
        return Response(answer)

    def _message(self, asked: dict[str, Any], group: str) -> dict[str, Any]:
        status, words = TAKEN if asked.get("from") == SENDER else UNREGISTERED
        return {
            "messageId": f"M4V{token_hex(14)}",
            "groupId": group,
            "to": asked["to"],
            "from": asked.get("from"),
            "text": asked["text"],
            "type": "SMS" if _size(asked["text"]) <= SHORT else "LMS",
            "country": asked.get("country", "82"),
            "statusCode": status,
            "statusMessage": words,
            "accountId": "12345678901234",
            "customFields": asked.get("customFields"),
        }


def _size(text: str) -> int:
    """Return the bytes as networks count them."""
    return len(text.encode("cp949", errors="replace"))


def _group(group: str, total: int, taken: int) -> dict[str, Any]:
    money = {"requested": 0, "replacement": 0, "refund": 0, "sum": 0}
    now = datetime.now(UTC).isoformat()
    counts = {
        "total": total,
        "sentTotal": 0,
        "sentSuccess": 0,
        "sentPending": 0,
        "sentReplacement": 0,
        "refund": 0,
        "registeredFailed": total - taken,
        "registeredSuccess": taken,
    }
    return {
        "groupId": group,
        "status": "SENDING" if taken else "FAILED",
        "count": counts,
        "countForCharge": {"sms": {"82": taken}},
        "balance": money,
        "point": money,
        "app": {"profit": {}, "appId": None},
        "log": [],
        "allowDuplicates": True,
        "isRefunded": False,
        "accountId": "12345678901234",
        "masterAccountId": None,
        "apiVersion": "4",
        "price": {"82": {"sms": 18, "lms": 45}},
        "dateCreated": now,
        "dateUpdated": now,
    }


def _error(status: int, code: str, message: str) -> Problem:
    return Problem(status, {"errorCode": code, "errorMessage": message})

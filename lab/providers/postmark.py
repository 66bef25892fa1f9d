"""A stand-in for Postmark: e-mails one at a time, addresses that become inactive, bounces and complaints by webhook.

Written from https://postmarkapp.com/developer/api/email-api, …/api/overview (error codes),
…/webhooks/bounce-webhook and …/webhooks/spam-complaint-webhook. An e-mail bounces, or is complained about, only when
`bounce` or `complain` is called.
"""

import base64
from datetime import UTC, datetime
from secrets import randbelow, token_hex
from typing import Any
from uuid import uuid4

from lab.providers.server import Problem, Request, Response, Route, StandIn

SERVER_TOKEN = "token of the stand-in"  # noqa: S105  # nosec B105 (known to everybody: it opens nothing)
WEBHOOK_SECRET = "postmark:webhook secret of the stand-in"  # noqa: S105  # nosec B105
INACTIVE = (
    "You tried to send to recipient(s) that have been marked as inactive. Found inactive addresses: {}. "
    "Inactive recipients are ones that have generated a hard bounce, a spam complaint, or a manual suppression."
)


class Postmark(StandIn):
    """One server with one stream of messages."""

    name = "postmark"

    def routes(self) -> list[Route]:
        return [Route("POST", "/email", "send", self._send)]

    @property
    def sent(self) -> list[dict[str, Any]]:
        """Return the e-mails that it has accepted."""
        return [one["asked"] for one in self.books.all("message")]

    def check(self, request: Request) -> None:
        if request.headers.get("x-postmark-server-token") != SERVER_TOKEN:
            raise _error(401, 10, "No Account or Server API tokens were supplied, or they are wrong.")

    def bounce(self, address: str, kind: str = "HardBounce") -> None:
        """Let the latest e-mail to an address bounce, and report it. A hard bounce makes the address inactive."""
        if kind == "HardBounce":
            self.books.put("inactive", address, True)
        self._report("Bounce", address, kind, f"smtp;550 5.1.1 The mailbox {address} does not exist")

    def complain(self, address: str) -> None:
        """Let the recipient of the latest e-mail report it as spam."""
        self.books.put("inactive", address, True)
        self._report("SpamComplaint", address, "SpamComplaint", "")

    def _send(self, request: Request) -> Response:
        asked = request.json
        if not asked.get("From") or "@" not in asked.get("To", ""):
            raise _error(422, 300, f"Invalid 'To' address: '{asked.get('To')}'.")
        if not asked.get("TextBody") and not asked.get("HtmlBody"):
            raise _error(422, 300, "Zero recipients or an empty body.")
        if self.books.get("inactive", asked["To"]):
            raise _error(422, 406, INACTIVE.format(asked["To"]))
        number = str(uuid4())
        self.books.put("message", number, {"asked": asked})
        self.books.put("latest", asked["To"], number)
        now = datetime.now(UTC).isoformat()
        answer = {"To": asked["To"], "SubmittedAt": now, "MessageID": number, "ErrorCode": 0, "Message": "OK"}
        return Response(answer)

    def _report(self, record: str, address: str, kind: str, details: str) -> None:
        report = {
            "RecordType": record,
            "ID": randbelow(10**12),
            "Type": kind,
            "MessageID": self.books.get("latest", address) or token_hex(16),
            "Email": address,
            "Description": "The server was unable to deliver your message (ex: unknown user, mailbox not found).",
            "Details": details,
            "BouncedAt": datetime.now(UTC).isoformat(),
            "Inactive": kind != "SoftBounce",
        }
        self.tell(report, sign)


def sign(_body: bytes) -> dict[str, str]:
    """Return the header of a webhook. Postmark does not sign: it sends the credentials in the webhook's URL."""
    return {"Authorization": f"Basic {base64.b64encode(WEBHOOK_SECRET.encode()).decode()}"}


def _error(status: int, code: int, message: str) -> Problem:
    return Problem(status, {"ErrorCode": code, "Message": message})

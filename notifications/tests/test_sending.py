"""From notifications to the mail server and the SMS provider, and what happens when those say no."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from smtplib import SMTPRecipientsRefused, SMTPServerDisconnected
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from notifications import senders
from notifications.models import Inbox, Notification
from notifications.senders import Mailer
from notifications.services import LEASE, MAX_ATTEMPTS, _claim, pause_after, send_again
from notifications.tasks import purge, send_pending
from sagas import Unavailable

pytestmark = pytest.mark.django_db(databases=["accounts", "notifications"], transaction=True)

EVENT = UUID("01980000-0000-7000-8000-000000000001")


class Provider:
    """An SMS provider that fails for the numbers in `failing`, and remembers what it took."""

    sent: list[tuple[str, str, str]] = []
    failing: set[str] = set()
    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def send(self, *, to: str, text: str, reference: str) -> None:
        Provider.meanwhile()
        if to in self.failing:
            raise RuntimeError("provider says no")
        self.sent.append((to, text, reference))


class Server(EmailBackend):
    """A mail server that can be away, refuse a recipient, or hang up after a message."""

    opened = 0
    away = False
    refuses: set[str] = set()
    hangs_up_on: set[str] = set()
    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.is_open = False

    def open(self):
        if self.is_open:
            return False
        if Server.away:
            raise ConnectionRefusedError("nobody listens")
        Server.opened += 1
        self.is_open = True
        return True

    def close(self):
        self.is_open = False

    def send_messages(self, messages):
        Server.meanwhile()
        (recipient,) = messages[0].to
        if recipient in self.refuses:
            raise SMTPRecipientsRefused({recipient: (550, f"<{recipient.upper()}>: no such mailbox".encode())})
        if recipient in self.hangs_up_on:
            raise SMTPServerDisconnected("gone")
        return super().send_messages(messages)


@pytest.fixture(autouse=True)
def ways_out(settings):
    settings.SMS_SENDER = f"{__name__}.Provider"
    settings.EMAIL_BACKEND = f"{__name__}.Server"
    Provider.sent, Provider.failing, Provider.meanwhile = [], set(), lambda: None
    Server.opened, Server.away, Server.refuses, Server.hangs_up_on = 0, False, set(), set()
    Server.meanwhile = lambda: None


def due(recipient: str, *, event_id: UUID = EVENT, channel: str = "EMAIL", **fields) -> Notification:
    values = {
        "order_id": 7,
        "user_id": 1,
        "type": "SHIPPED",
        "subject": "[Shop] Order 7 is on its way",
        "body": "Hello",
    }
    return Notification.objects.create(event_id=event_id, channel=channel, recipient=recipient, **(values | fields))


def due_again(row: Notification) -> None:
    Notification.objects.filter(pk=row.pk).update(due_at=timezone.now())


def test_email_and_sms_are_sent_once_with_their_reference():
    due("kim@example.com")
    due("010-1234-5678", channel="SMS", subject="")

    assert send_pending() == 2
    assert send_pending() == 0

    (message,) = mail.outbox
    assert (message.to, message.subject, message.body) == (["kim@example.com"], "[Shop] Order 7 is on its way", "Hello")
    assert message.message()["Message-ID"] == f"<{EVENT}.email@example.com>"
    assert Provider.sent == [("010-1234-5678", "Hello", f"{EVENT}.sms")]
    for row in Notification.objects.all():
        assert (row.status, row.attempts, row.error) == ("SENT", 1, "")
        assert row.sent_at is not None


@pytest.mark.parametrize("channel", ["EMAIL", "SMS"])
def test_what_a_slow_server_has_no_time_for_is_given_back_before_another_may_send_it(
    monkeypatch: pytest.MonkeyPatch, channel: str
):
    now = [0.0]

    def be_slow() -> None:
        now[0] += 40.0

    monkeypatch.setattr(senders, "time", SimpleNamespace(monotonic=lambda: now[0]), raising=False)
    Server.meanwhile = Provider.meanwhile = be_slow
    for number in range(5):
        due(f"kim{number}@example.com", event_id=uuid4(), channel=channel)
    sent = mail.outbox if channel == "EMAIL" else Provider.sent

    assert (send_pending(), len(sent)) == (5, 3)
    assert now[0] < LEASE.total_seconds() / 2
    left = Notification.objects.filter(status="PENDING")
    assert list(left.values_list("attempts", "error")) == [(0, "")] * 2

    assert (send_pending(), send_pending(), len(sent)) == (2, 0, 5)
    assert list(Notification.objects.values_list("status", "attempts")) == [("SENT", 1)] * 5


def test_what_is_not_due_waits():
    due("kim@example.com", due_at=timezone.now() + timedelta(minutes=1))

    assert send_pending() == 0
    assert mail.outbox == []


def test_a_failure_is_tried_again_after_a_pause_and_then_sent():
    row = due("010-1234-5678", channel="SMS")
    Provider.failing = {"010-1234-5678"}
    before = timezone.now()

    assert send_pending() == 1
    row.refresh_from_db()
    assert (row.status, row.attempts, row.error, row.sent_at) == ("PENDING", 1, "RuntimeError: provider says no", None)
    assert before + timedelta(seconds=10) <= row.due_at <= timezone.now() + timedelta(seconds=10)
    assert send_pending() == 0

    Provider.failing = set()
    due_again(row)
    assert send_pending() == 1
    row.refresh_from_db()
    assert (row.status, row.attempts, row.error) == ("SENT", 2, "")
    assert len(Provider.sent) == 1


def test_after_the_last_attempt_it_has_failed_and_staff_may_send_it_again():
    row = due("lost@example.com", attempts=MAX_ATTEMPTS - 1)
    sent = due("kim@example.com", event_id=UUID(int=2), status="SENT")
    Server.refuses = {"lost@example.com"}

    assert send_pending() == 1
    row.refresh_from_db()
    assert (row.status, row.attempts) == ("FAILED", MAX_ATTEMPTS)
    assert row.error == "SMTPRecipientsRefused: {'…': (550, b'<…>: no such mailbox')}"
    due_again(row)
    assert send_pending() == 0

    Server.refuses = set()
    assert send_again([row.pk, sent.pk]) == 1
    assert send_pending() == 1
    row.refresh_from_db()
    assert (row.status, row.attempts) == ("SENT", 1)
    assert [message.to for message in mail.outbox] == [["lost@example.com"]]


def test_pauses_double_up_to_an_hour():
    seconds = [pause_after(attempts).total_seconds() for attempts in range(1, MAX_ATTEMPTS + 1)]
    assert seconds == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600]


def test_one_refused_recipient_leaves_its_neighbours_and_the_connection_alone():
    due("kim@example.com", event_id=UUID(int=1))
    due("lost@example.com", event_id=UUID(int=2))
    due("lee@example.com", event_id=UUID(int=3))
    Server.refuses = {"lost@example.com"}

    assert send_pending() == 3

    assert [message.to for message in mail.outbox] == [["kim@example.com"], ["lee@example.com"]]
    assert Server.opened == 1
    assert dict(Notification.objects.values_list("recipient", "status")) == {
        "kim@example.com": "SENT",
        "lost@example.com": "PENDING",
        "lee@example.com": "SENT",
    }


def test_a_server_that_hangs_up_is_called_once_more():
    due("kim@example.com", event_id=UUID(int=1))
    due("long@example.com", event_id=UUID(int=2))
    due("lee@example.com", event_id=UUID(int=3))
    Server.hangs_up_on = {"long@example.com"}

    assert send_pending() == 3

    assert [message.to for message in mail.outbox] == [["kim@example.com"], ["lee@example.com"]]
    assert Server.opened == 2


def test_without_a_mail_server_the_sms_still_go_and_the_sweep_rests_until_the_next_tick():
    due("kim@example.com", event_id=UUID(int=1))
    due("lee@example.com", event_id=UUID(int=2))
    due("010-1234-5678", channel="SMS", event_id=UUID(int=1))
    Server.away = True

    with pytest.raises(Unavailable, match="No mail server: ConnectionRefusedError"):
        send_pending()

    assert [to for to, _, _ in Provider.sent] == ["010-1234-5678"]
    errors = dict(Notification.objects.filter(status="PENDING").values_list("recipient", "error"))
    assert errors == {
        "kim@example.com": "ConnectionRefusedError: nobody listens",
        "lee@example.com": "ConnectionRefusedError: nobody listens",
    }


def test_a_header_that_cannot_be_sent_fails_alone():
    due("kim@example.com", event_id=UUID(int=1), subject="two\nlines")
    due("lee@example.com", event_id=UUID(int=2))

    assert send_pending() == 2

    assert [message.to for message in mail.outbox] == [["lee@example.com"]]
    assert Notification.objects.get(recipient="kim@example.com").error.startswith("BadHeaderError")


def test_what_another_sender_has_claimed_is_left_to_it():
    due("kim@example.com")
    due("010-1234-5678", channel="SMS")
    seen = []
    Provider.meanwhile = lambda: seen.append(send_pending())  # a second sender, between our claiming and marking

    assert send_pending() == 2

    assert seen == [0]
    assert [message.to for message in mail.outbox] == [["kim@example.com"]]
    assert list(Notification.objects.values_list("status", "attempts")) == [("SENT", 1), ("SENT", 1)]


def test_what_a_dead_sender_had_claimed_is_sent_when_its_lease_is_over():
    row = due("kim@example.com")
    assert [claimed.pk for claimed in _claim()] == [row.pk]  # and the process dies here
    assert send_pending() == 0

    due_again(row)
    assert send_pending() == 1
    row.refresh_from_db()
    assert (row.status, row.attempts) == ("SENT", 2)


def test_nothing_personal_is_logged(caplog):
    due("kim@example.com", body="Hello Kim")
    due("010-1234-5678", channel="SMS", body="Hello Kim")
    Server.refuses, Provider.failing = {"kim@example.com"}, {"010-1234-5678"}

    send_pending()

    assert "SHIPPED of order 7 by EMAIL" in caplog.text
    for personal in ("kim@example.com", "010-1234-5678", "Kim"):
        assert personal not in caplog.text


def test_sending_a_hundred_takes_as_many_statements_as_one():
    def statements(count: int) -> int:
        for number in range(count):
            due(f"user{number}@example.com", event_id=UUID(int=number + count * 1000))
            due("010-0000-0000", channel="SMS", event_id=UUID(int=number + count * 1000))
        Provider.failing = {"010-0000-0000"}
        with CaptureQueriesContext(connections["notifications"]) as captured:
            assert send_pending() == 2 * count
        return len(captured)

    assert statements(1) == statements(50)


def test_purge_deletes_what_is_old_and_done_and_nothing_else():
    old = timezone.now() - settings.SAGAS.retention - timedelta(days=1)
    due("old@example.com", event_id=UUID(int=1), status="SENT", created_at=old)
    due("given-up@example.com", event_id=UUID(int=2), status="FAILED", created_at=old)
    due("waiting@example.com", event_id=UUID(int=3), created_at=old)
    due("new@example.com", event_id=UUID(int=4), status="SENT")
    for number, handled_at in enumerate([old, timezone.now()]):
        Inbox.objects.create(
            step="notifications.notify",
            event_id=UUID(int=number),
            event_type="OrderCreated",
            correlation_id=1,
            handled_at=handled_at,
        )

    assert purge() == 3
    assert purge() == 0

    assert set(Notification.objects.values_list("recipient", flat=True)) == {"waiting@example.com", "new@example.com"}
    assert [row.event_id for row in Inbox.objects.all()] == [UUID(int=1)]


def test_what_is_too_much_for_a_recipient_is_suppressed(settings: Any):
    settings.MESSAGES_PER_HOUR = 3
    recently, before = timezone.now() - timedelta(minutes=59), timezone.now() - timedelta(minutes=61)
    for number, at in enumerate((recently, recently, before)):
        due("kim@example.com", event_id=UUID(int=number + 1), status="SENT", sent_at=at)
    for number in range(10, 14):
        due("kim@example.com", event_id=UUID(int=number))
    due("lee@example.com", event_id=UUID(int=20))
    due("010-1234-5678", event_id=UUID(int=21), channel="SMS")

    with CaptureQueriesContext(connections["notifications"]) as queries:
        assert send_pending() == 6

    rows = Notification.objects.filter(event_id__gte=UUID(int=10)).order_by("event_id")
    assert [row.status for row in rows] == ["SENT", *["SUPPRESSED"] * 3, "SENT", "SENT"]
    assert rows[1].error == "3 messages had been sent to this recipient within an hour."
    assert [message.to for message in mail.outbox] == [["kim@example.com"], ["lee@example.com"]]
    assert len(queries) <= 14
    assert send_pending() == 0  # for good
    plan = "EXPLAIN " + next(query["sql"] for query in queries if "GROUP BY" in query["sql"])
    with connections["notifications"].cursor() as cursor:
        cursor.execute(plan)
        assert "notifications_recent" in str(cursor.fetchall())


def test_e_mails_in_files_are_their_owners_alone(settings: Any, tmp_path: Path):
    settings.EMAIL_BACKEND = "shop.mailfiles.EmailBackend"
    settings.EMAIL_FILE_PATH = tmp_path / "mail"
    with Mailer() as mailer:
        for number in range(2):
            mailer.send(to="a@example.com", subject="x", body="y", reference=str(number))
    files = list(settings.EMAIL_FILE_PATH.iterdir())
    assert ["Subject: x" in file.read_text() for file in files] == [True, True]
    assert [path.stat().st_mode & 0o777 for path in (settings.EMAIL_FILE_PATH, *files)] == [0o700, 0o600, 0o600]

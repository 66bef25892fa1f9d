"""E-mails about accounts: taken from accounts, sent, and reported as sent; nothing of them is kept here."""

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core import mail

from notifications import senders
from notifications.letters import compose, send_due
from notifications.models import Notification
from notifications.tasks import notify, send_letters
from notifications.tests.dialogue import KIM, order_created
from notifications.texts import LETTERS_ABOUT_ACCOUNTS
from sagas import Unavailable
from shop.calls import substituting
from shop.contracts.accounts import Contact, ContactsService, Letter

pytestmark = pytest.mark.django_db(databases=["notifications"])


class Accounts:
    """Accounts with letters to send."""

    def __init__(self, *letters: Letter) -> None:
        self.letters, self.sent = list(letters), list[UUID]()

    def claim_letters(self) -> list[Letter]:
        letters, self.letters = self.letters, []
        return letters

    def mark_letters_sent(self, letter_ids: Collection[UUID]) -> None:
        self.sent += letter_ids


def letter(kind: str = "VERIFY", language: str = "en", email: str = "hana@example.com") -> Letter:
    return Letter(id=uuid4(), kind=kind, email=email, language=language, token="abc.d+e")


@pytest.mark.parametrize("kind", LETTERS_ABOUT_ACCOUNTS)
@pytest.mark.parametrize(("language", "shown"), [("ko", "ko"), ("en", "en"), ("fr", "en")])
def test_what_it_says(kind: str, language: str, shown: str, settings: Any):
    settings.PUBLIC_URL = "https://shop.example"
    subject, body = compose(letter(kind, language))
    page = {"VERIFY": "verify", "RESET": "reset"}[kind]
    assert subject == LETTERS_ABOUT_ACCOUNTS[kind][shown][0]
    assert f"\n\nhttps://shop.example/account/{page}?token=abc.d%2Be&lang={shown}\n\n" in body


def test_letters_are_sent_and_not_kept(caplog: pytest.LogCaptureFixture):
    one, two = letter(), letter("RESET", "ko", "lee@example.com")
    accounts = Accounts(one, two)
    with substituting(ContactsService, accounts):
        assert (send_letters(), send_letters()) == (2, 0)
    assert [message.to for message in mail.outbox] == [["hana@example.com"], ["lee@example.com"]]
    assert mail.outbox[0].extra_headers["Message-ID"].startswith(f"<{one.id}@")
    assert accounts.sent == [one.id, two.id]
    assert not Notification.objects.exists()
    assert "abc.d" not in caplog.text


def test_what_the_mail_server_refuses_is_not_reported_as_sent(caplog: pytest.LogCaptureFixture):
    bad, good = letter(email="line\nbreak@example.com"), letter()
    accounts = Accounts(bad, good)
    with substituting(ContactsService, accounts):
        assert send_due() == 2
    assert accounts.sent == [good.id]
    assert "line" not in caplog.text


def test_what_a_slow_server_has_no_time_for_is_left_for_when_it_is_given_out_again(monkeypatch: pytest.MonkeyPatch):
    now = [0.0]

    def send_slowly(_connection: Any, messages: list[Any]) -> int:
        now[0] += 20.0
        return len(messages)

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", send_slowly)
    monkeypatch.setattr(senders, "time", SimpleNamespace(monotonic=lambda: now[0]), raising=False)
    letters = [letter() for _ in range(5)]
    accounts = Accounts(*letters)
    with substituting(ContactsService, accounts):
        assert send_due() == 5
    assert accounts.sent == [one.id for one in letters[:2]]
    assert now[0] < 60  # after a minute another process may be given the rest


def test_without_a_mail_server_the_rest_waits(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.open", lambda self: _away())
    accounts = Accounts(letter(), letter())
    with substituting(ContactsService, accounts), pytest.raises(Unavailable, match="No mail server"):
        send_due()
    assert accounts.sent == []


def _away() -> None:
    raise ConnectionRefusedError


def test_who_has_not_confirmed_the_address_is_not_told_but_it_is_written_down():
    event = order_created(7, user=KIM)
    fields = {name: getattr(KIM, name) for name in KIM.__struct_fields__} | {"verified": False}
    notify([event], {KIM.user_id: Contact(**fields)})
    rows = Notification.objects.values_list("channel", "status", "error").order_by("channel")
    why = "The customer's e-mail address is not verified."
    assert list(rows) == [("EMAIL", "SUPPRESSED", why), ("SMS", "SUPPRESSED", why)]
    from notifications.services import send_again, send_due

    assert send_due() == 0
    assert send_again(Notification.objects.values_list("pk", flat=True)) == 0
    assert mail.outbox == []

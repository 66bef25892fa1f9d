"""Text messages through SOLAPI: whatever happens on the way, each is sent or is said not to be, and a portion is one
request."""

from collections.abc import Iterator
from typing import Any

import pytest

from lab.providers import solapi as stand_in
from lab.providers.server import FAIL_BEFORE, LOSE_ANSWER, MALFORMED
from notifications.senders import Sms, send_portion, sms_sender
from notifications.solapi import SmsRefused, Solapi

OPTIONS = {"key": stand_in.API_KEY, "secret": stand_in.API_SECRET, "sender": stand_in.SENDER}


@pytest.fixture
def provider(settings: Any) -> Iterator[stand_in.Solapi]:
    with stand_in.Solapi() as serving:
        settings.SMS_SENDER, settings.SMS_OPTIONS = "notifications.solapi.Solapi", OPTIONS | {"url": serving.url}
        yield serving


def portion(count: int = 3, **changes: Any) -> list[Sms]:
    return [
        Sms(f"+8210123400{number:02}", f"주문 {number}", f"reference-{number}")._replace(**changes)
        for number in range(count)
    ]


def test_a_portion_is_one_request(provider: stand_in.Solapi):
    assert send_portion(sms_sender(), portion(100)) == {}
    assert [operation for operation, _fault in provider.requests] == ["send"]
    first = min(provider.sent, key=lambda one: one["to"])
    assert (first["to"], first["from"], first["text"]) == ("01012340000", stand_in.SENDER, "주문 0")
    assert (first["type"], first["customFields"], len(provider.sent)) == ("SMS", {"reference": "reference-0"}, 100)


def test_two_messages_to_one_number_are_two_and_a_long_one_is_sent_as_lms(provider: stand_in.Solapi):
    assert send_portion(sms_sender(), [*portion(2, to="+821012345678"), *portion(1, text="가" * 46)]) == {}
    assert sorted((one["to"], one["type"]) for one in provider.sent) == [
        ("01012340000", "LMS"),
        ("01012345678", "SMS"),
        ("01012345678", "SMS"),
    ]


def test_one_alone(provider: stand_in.Solapi):
    Solapi().send(to="010-1234-5678", text="x", reference="r")
    assert [one["to"] for one in provider.sent] == ["01012345678"]


def test_what_is_refused_is_named_by_its_reference(provider: stand_in.Solapi, monkeypatch: pytest.MonkeyPatch):
    message = provider._message
    refused = {"reference": "reference-1"}
    monkeypatch.setattr(
        provider,
        "_message",
        lambda asked, group: message(
            asked | {"from": "021111111"} if asked["customFields"] == refused else asked, group
        ),
    )
    errors = send_portion(sms_sender(), portion())
    assert {reference: str(error) for reference, error in errors.items()} == {"reference-1": "1062 발신번호 미등록"}
    assert len(provider.sent) == 2


def test_a_sender_that_is_not_registered_sends_nothing(provider: stand_in.Solapi, settings: Any):
    settings.SMS_OPTIONS = settings.SMS_OPTIONS | {"sender": "021111111"}
    errors = send_portion(sms_sender(), portion())
    assert {str(error) for error in errors.values()} == {"1062 발신번호 미등록"}
    assert (len(errors), provider.sent) == (3, [])
    with pytest.raises(SmsRefused, match="1062"):
        Solapi().send(to="010-1234-5678", text="x", reference="r")


@pytest.mark.parametrize(
    ("option", "code"), [({"key": "somebody's"}, "InvalidAPIKey"), ({"secret": "x"}, "SignatureDoesNotMatch")]
)
def test_with_another_key_nothing_is_sent(provider: stand_in.Solapi, settings: Any, option: dict[str, str], code: str):
    settings.SMS_OPTIONS = settings.SMS_OPTIONS | option
    errors = send_portion(sms_sender(), portion())
    assert ({str(error) for error in errors.values()}, len(errors)) == ({code}, 3)


def test_without_money_nothing_is_sent_and_no_number_is_quoted(provider: stand_in.Solapi):
    provider.balance = 2
    assert {str(error) for error in send_portion(sms_sender(), portion()).values()} == {"NotEnoughBalance"}
    errors = send_portion(sms_sender(), portion(1, text="가" * 1001))
    assert {str(error) for error in errors.values()} == {"ValidationError"}
    assert provider.sent == []


@pytest.mark.parametrize("fault", [FAIL_BEFORE, LOSE_ANSWER, MALFORMED])
def test_what_was_not_answered_counts_as_not_sent(provider: stand_in.Solapi, fault: str):
    provider.faults.plan("send", fault)
    assert set(send_portion(sms_sender(), portion())) == {"reference-0", "reference-1", "reference-2"}
    assert send_portion(sms_sender(), portion()) == {}

"""Text messages through SOLAPI (https://solapi.com), by the library that they publish.

A portion is one request, POST /messages/v4/send-many/detail, which takes 10,000 messages. One that is refused does not
hold up the others; the answer names it with the `customFields` that it had. What is longer than 90 bytes goes as LMS.
There is no idempotency key: where an answer is lost, a message is sent twice.
https://developers.solapi.com/references/messages/sendManyDetail
"""

from collections.abc import Mapping, Sequence

import phonenumbers
from django.conf import settings

from notifications.senders import Sms


class SmsRefused(Exception):
    """SOLAPI did not take a message, or any; the error has its code and names nobody."""


class Solapi:
    """An account by its SMS_SERVICE_KEY and SMS_SERVICE_SECRET. SMS_SERVICE_SENDER is a number registered there."""

    def __init__(self) -> None:
        from solapi import SolapiMessageService  # takes a second and 20 MB: only where it is used

        options = settings.SMS_OPTIONS
        self._sender = options["sender"]
        self._service = SolapiMessageService(options["key"], options["secret"])
        self._service.base_url = options.get("url") or self._service.base_url

    def send(self, *, to: str, text: str, reference: str) -> None:
        for error in self.send_portion([Sms(to, text, reference)]).values():
            raise error

    def send_portion(self, messages: Sequence[Sms]) -> Mapping[str, Exception]:
        from solapi.error.MessageNotReceiveError import MessageNotReceivedError
        from solapi.model import RequestMessage, SendRequestConfig

        asked = [
            RequestMessage(
                from_=self._sender, to=_local(one.to), text=one.text, custom_fields={"reference": one.reference}
            )
            for one in messages
        ]
        # Two messages to one number are two messages: about two orders, say.
        config = SendRequestConfig(allow_duplicates=True, show_message_list=True)
        try:
            refused = self._service.send(asked, config).failed_message_list or []
        except MessageNotReceivedError as none_was:
            refused = none_was.failed_messages
        except Exception as error:  # the library's only other class: code and sentence, which may quote a number
            raise SmsRefused(str(error.args[0]) if len(error.args) > 1 else type(error).__name__) from None
        by_number = {_local(one.to): one.reference for one in messages}
        return {
            (one.custom_fields or {}).get("reference") or by_number[one.to or ""]: SmsRefused(
                f"{one.status_code} {one.status_message}"
            )
            for one in refused
        }


def _local(number: str) -> str:
    """As it is dialled in Korea, without a country's code: 01012345678."""
    parsed = phonenumbers.parse(number, settings.PHONE_REGION)
    return f"0{phonenumbers.national_significant_number(parsed)}"

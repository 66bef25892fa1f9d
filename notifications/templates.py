"""What customers read, as the shop's owner has changed it: a template in use takes the place of a text of `texts.py`.

A placeholder is a name in braces, `{order}`, and stands for a text. Nothing is evaluated, so a template reaches nothing
but what is handed to it, and what is filled in is never read for placeholders again.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.utils.formats import date_format
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import override

from notifications.models import MessageTemplate, Notification
from notifications.texts import (
    DEFAULT_LANGUAGE,
    LETTERS,
    LETTERS_ABOUT_ACCOUNTS,
    PAGE,
    REASONS,
    TEXTS,
    TRANSFER,
    TRANSFER_BY_SMS,
    Text,
)
from shop.contracts import reasons
from shop.money import SYMBOLS, money

Channel, Type = Notification.Channel, Notification.Type

PLACEHOLDER = re.compile(r"\{(\w*)\}")
# A link opens an account. Whoever writes texts is not to have it sent to an address of theirs, as by
# "https://elsewhere.example/?{link}".
LEADS_ELSEWHERE = re.compile(r"\S\{link\}|://|\bwww\.", re.IGNORECASE)
LONGEST_SUBJECT = 200  # characters, with everything filled in
LONGEST_SMS = 2000  # bytes as the networks count them; above 90 an SMS is sent, and paid for, as LMS
NUMBERED = {Type.SHIPPED, Type.DELIVERED, Type.RETURN_APPROVED}  # what says a tracking number
NO_NUMBER = "–"
PRICED = {Type.PAYMENT_DUE, Type.REFUNDED, Type.ORDER_CHANGED, Type.ADDRESS_CHANGED, Type.RETURN_REFUNDED}
REASONED = {Type.CANCELLED, Type.DELIVERY_FAILED, Type.SHIPMENT_FAILED, Type.CHANGE_REFUSED}
OF_RETURNS = {kind for kind in Type if kind.startswith("RETURN_")}
IN_SUBJECT = ("order", "tracking", "return", "exchange", "amount")  # one line, which names nobody


class Draft(NamedTuple):
    """A text with placeholders. An SMS has no subject."""

    subject: str
    body: str


Drafts = Mapping[tuple[str, str, str], Draft]  # by kind, channel and language
NONE: Drafts = {}


def drafts_in_use() -> Drafts:
    """What takes the place of our texts; one statement."""
    rows = MessageTemplate.objects.filter(in_use=True).values_list("kind", "channel", "language", "subject", "body")
    return {(kind, channel, language): Draft(subject, body) for kind, channel, language, subject, body in rows}


@cache
def default(kind: str, channel: str, language: str) -> Draft:
    """Our own text."""
    if kind in LETTERS_ABOUT_ACCOUNTS:
        return Draft(*LETTERS_ABOUT_ACCOUNTS[kind][language])
    text = TEXTS[Type(kind)][language]
    if channel == Channel.SMS:
        return Draft("", text.sms)
    return Draft(text.subject, LETTERS[language].replace("{body}", text.body))


def fill(text: str, facts: Mapping[str, object]) -> str:
    """The text with each placeholder replaced by what it stands for."""
    return PLACEHOLDER.sub(lambda found: str(facts.get(found[1], found[0])), text)


class Due(NamedTuple):
    """A payment that is to be made until then: at `url`, or by a transfer to an account."""

    url: str
    until: datetime
    bank: str = ""
    account: str = ""
    holder: str = ""


def compose(
    kind: str,
    *,
    language: str,
    name: str,
    order: int,
    tracking: str = "",
    reason: str = "",
    returned: int = 0,
    exchange: int = 0,
    amount: str = "",
    due: Due | None = None,
    drafts: Drafts = NONE,
) -> Text:
    """What a customer is told in their language, or in English when there is nothing in it."""
    language = language if language in LETTERS else DEFAULT_LANGUAGE
    theirs = reasons.words_of_others(reason)
    ours = reasons.FAILED_WITH_CARRIER if theirs is not None else reason
    because = next((known[language] for start, known in REASONS.items() if ours.startswith(start)), ours)
    email, sms = (
        drafts.get((kind, channel, language)) or default(kind, channel, language)
        for channel in (Channel.EMAIL, Channel.SMS)
    )
    facts: dict[str, Any] = {"order": order, "tracking": tracking or NO_NUMBER}
    facts |= {"return": returned, "exchange": exchange}
    facts["amount"] = _in_words(amount, language)
    where = where_sms = ""
    if due is not None:
        with override(language):
            facts["until"] = date_format(localtime(due.until), "DATETIME_FORMAT")
        where = fill((TRANSFER if due.account else PAGE)[language], due._asdict())
        where_sms = fill((TRANSFER_BY_SMS if due.account else PAGE)[language], due._asdict())
    body = fill(email.body, facts | {"name": name, "reason": theirs or because, "where": where})
    plain = facts | {"amount": _in_words(amount, language, plain=True)}
    short = fill(sms.body, plain | {"reason": because, "where": where_sms})
    return Text(fill(email.subject, facts)[:LONGEST_SUBJECT], body, short)


def _in_words(amount: str, language: str, *, plain: bool = False) -> str:
    """As it is said in Korean; `plain` without the sign that an SMS cannot have."""
    if not amount.startswith(SYMBOLS["KRW"]):
        return amount
    figure = amount.removeprefix(SYMBOLS["KRW"])
    return f"{figure}원" if language == "ko" else f"KRW {figure}" if plain else amount


def compose_letter(kind: str, *, language: str, link: str, drafts: Drafts = NONE) -> Draft:
    """Subject and text of an e-mail about an account. There must be something in the language."""
    letter = drafts.get((kind, Channel.EMAIL, language)) or default(kind, Channel.EMAIL, language)
    return Draft(letter.subject, fill(letter.body, {"link": link}))


# --- For staff --------------------------------------------------------------------------------------------------------
def placeholders(kind: str, channel: str) -> list[str]:
    """What may stand in a template's text. An SMS names nobody: it is read on locked screens."""
    if kind in LETTERS_ABOUT_ACCOUNTS:
        return ["link"]
    return [
        "order",
        *(["name"] if channel == Channel.EMAIL else []),
        *(["tracking"] if kind in NUMBERED else []),
        *(["reason"] if kind in REASONED else []),
        *(["amount"] if kind in PRICED else []),
        *(["until", "where"] if kind == Type.PAYMENT_DUE else []),
        *(["return"] if kind in OF_RETURNS else []),
        *(["exchange"] if kind == Type.RETURN_EXCHANGED else []),
    ]


def check(kind: str, channel: str, draft: Draft) -> None:
    """Raises `ValidationError` for a text that could not be sent as it is meant."""
    known = placeholders(kind, channel)
    of_subject = [name for name in known if name in IN_SUBJECT]
    wrong = {"subject": _wrong(draft.subject, of_subject), "body": _wrong(draft.body, known)}
    if channel == Channel.EMAIL and not draft.subject:
        wrong["subject"].append(_("An e-mail has a subject."))
    if "link" in known and "{link}" not in draft.body:
        wrong["body"].append(_("Without {link} nobody can do what this e-mail is for."))
    if "link" in known and LEADS_ELSEWHERE.search(draft.body):
        wrong["body"].append(_("{link} has a space before it, and no other web address belongs into this e-mail."))
    if channel == Channel.SMS:
        wrong["body"] += _wrong_for_sms(example(kind, channel, "ko", draft).body)
    if found := {field: sentences for field, sentences in wrong.items() if sentences}:
        raise ValidationError(found)


def _wrong(text: str, known: list[str]) -> list[str]:
    strange = [found[0] for found in PLACEHOLDER.finditer(text) if found[1] not in known]
    strange += re.findall(r"[{}]", PLACEHOLDER.sub("", text))
    can = ", ".join(f"{{{name}}}" for name in known) or "–"
    sentence = _("%(strange)s cannot be filled in here; what can is %(can)s.")
    return [sentence % {"strange": one, "can": can} for one in strange]


def _wrong_for_sms(text: str) -> list[str]:
    try:
        size = len(text.encode("cp949"))
    except UnicodeEncodeError as error:
        return [_("An SMS cannot have %s in it.") % text[error.start]]
    if size <= LONGEST_SMS:
        return []
    return [_("An SMS has %(most)d bytes at most, this one has %(size)d.") % {"most": LONGEST_SMS, "size": size}]


def example(kind: str, channel: str, language: str, draft: Draft) -> Draft:
    """What a customer would read, with an order that does not exist."""
    drafts = {(kind, channel, language): draft}
    if kind in LETTERS_ABOUT_ACCOUNTS:
        return compose_letter(kind, language=language, link="https://shop.example/account?token=…", drafts=drafts)
    name = "김하나" if language == "ko" else "Hana Kim"
    why = reasons.INSUFFICIENT_STOCK
    text = compose(
        kind,
        language=language,
        name=name,
        order=1042,
        returned=1057,
        exchange=1064,
        tracking="CJ123456789",
        reason=why,
        amount=money(35_000, "KRW"),
        due=Due("https://shop.example/pay", datetime(2026, 12, 24, 9, tzinfo=UTC), "국민은행", "110-123-456789", name),
        drafts=drafts,
    )
    return Draft("", text.sms) if channel == Channel.SMS else Draft(text.subject, text.body)

"""E-mails about an account itself, with a link that works once.

They are accounts' own, which writes them down, gives them out and hears what was sent. Nothing of them is kept here: a
link is as good as a password. They name nobody, for whoever signs up may give any address.
"""

import logging
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings

from notifications.models import Notification
from notifications.senders import Mailer
from notifications.suppressions import WITHHELD, suppressed
from notifications.templates import NONE, Drafts, compose_letter, drafts_in_use
from notifications.texts import DEFAULT_LANGUAGE, LETTERS_ABOUT_ACCOUNTS
from sagas import Unavailable
from shop.calls import connect
from shop.contracts.accounts import ContactsService, Letter

logger = logging.getLogger(__name__)

SENDING = 30.0  # seconds: a minute after it was given out, a letter may be given out again

PAGES = {"VERIFY": "/account/verify", "RESET": "/account/reset"}


def send_due() -> int:
    """Send one portion of what is due; how many letters that was, sent or not.

    What fails, or what a slow server leaves no time for, is given out again later, but not what would go to a
    suppressed address. Raises `Unavailable` while accounts or the mail server is away.
    """
    contacts = connect(ContactsService)
    letters, sent = contacts.claim_letters(), list[UUID]()
    if not letters:
        return 0
    drafts = drafts_in_use()
    stopped = suppressed(Notification.Channel.EMAIL, {letter.email for letter in letters})
    with Mailer(SENDING) as mailer:
        for letter in letters:
            if reason := stopped.get(letter.email):
                WITHHELD.labels(Notification.Channel.EMAIL, reason).inc()
                sent.append(letter.id)
                continue
            subject, body = compose(letter, drafts)
            try:
                mailer.send(to=letter.email, subject=subject, body=body, reference=str(letter.id))
                sent.append(letter.id)
            except Exception as error:  # whatever a provider's library raises: it concerns this letter alone
                logger.warning("Letter %s not sent: %s", letter.id, type(error).__name__)
    contacts.mark_letters_sent(sent)
    if mailer.away:
        raise Unavailable(f"No mail server: {type(mailer.away).__name__}")
    return len(letters)


def compose(letter: Letter, drafts: Drafts = NONE) -> tuple[str, str]:
    """Subject and body in the reader's language, or in English when there is none in it."""
    language = letter.language if letter.language in LETTERS_ABOUT_ACCOUNTS[letter.kind] else DEFAULT_LANGUAGE
    query = urlencode({"token": letter.token, "lang": language})
    link = f"{settings.PUBLIC_URL}{PAGES[letter.kind]}?{query}"
    return compose_letter(letter.kind, language=language, link=link, drafts=drafts)

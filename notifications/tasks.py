"""What notifications hears of the sagas: everything a customer wants to be told."""

from collections.abc import Mapping, Sequence
from typing import get_args

from notifications import letters, privacy, services
from notifications.kinds import News, OrderNews, ReturnNews, customer_of
from notifications.webhooks import events as public_events
from notifications.webhooks import owners, sending
from sagas import step, timer
from shop.calls import connect
from shop.contracts.accounts import Contact, ContactsService
from shop.contracts.events import (
    CustomerErased,
    OrderCreated,
    OrderEvent,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentCompleted,
    PaymentRefundCompleted,
)
from shop.contracts.return_events import ReturnApproved, ReturnCompleted, ReturnRequested

NEWS = get_args(News)
Heard = OrderNews | PaymentCompleted | PaymentAuthorized | PaymentCaptured


def look_up_contacts(events: Sequence[OrderEvent]) -> Mapping[int, Contact]:
    """Name, addresses and language of the customers concerned, by user id; who is unknown is missing."""
    customers = {customer_of(event) for event in events if isinstance(event, NEWS)}
    return connect(ContactsService).get_contacts(sorted(customers)) if customers else {}


@step(outside=look_up_contacts)
def notify(events: list[Heard], contacts: Mapping[int, Contact]) -> None:
    """Write down what each customer is to be told, by e-mail and, where there is a phone, by SMS; and what each program
    that has subscribed, by webhook."""
    _write_down(events, contacts)


@step(outside=look_up_contacts)
def notify_return(
    events: list[ReturnNews | ReturnRequested | ReturnApproved],
    contacts: Mapping[int, Contact],
) -> None:
    """Likewise about returns."""
    _write_down(events, contacts)


def _write_down(events: Sequence[OrderEvent], contacts: Mapping[int, Contact]) -> None:
    services.write_down((event for event in events if isinstance(event, NEWS) and not _told_elsewhere(event)), contacts)
    public_events.write_down(events)


def _told_elsewhere(event: News) -> bool:
    """Whether its customer is told of it by another saga: of a refund and an exchange by that of the return, of its end
    by that of the exchange."""
    match event:
        case PaymentRefundCompleted():
            return event.for_return
        case OrderCreated(checkout=checkout):
            return checkout.exchange_of > 0
        case ReturnCompleted():
            return event.exchanged
        case _:
            return False


@step
def erase_customer(erased: list[CustomerErased]) -> None:
    """Forget what customers who have left were told."""
    privacy.erase(erased)


@timer
def send_pending() -> int:
    """Send what is due, and once more what failed, after growing pauses."""
    return services.send_due()


@timer
def send_letters() -> int:
    """Send the e-mails about accounts themselves."""
    return letters.send_due()


@timer
def send_webhooks() -> int:
    """Serve the subscribers who have something due, in threads of their own."""
    return sending.begin_turns()


@timer
def review_webhooks() -> int:
    """Disable the webhooks of who has lost the right to what they tell."""
    return owners.review()


@timer
def purge() -> int:
    """Delete old messages and notifications."""
    return services.purge()

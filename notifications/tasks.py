"""What notifications hears of the saga: everything a customer wants to be told."""

from collections.abc import Mapping, Sequence

from notifications import letters, privacy, services
from notifications.kinds import News, customer_of
from sagas import step, timer
from shop.calls import connect
from shop.contracts.accounts import Contact, ContactsService
from shop.contracts.events import CustomerErased


def look_up_contacts(news: Sequence[News]) -> Mapping[int, Contact]:
    """Name, addresses and language of the customers concerned, by user id; who is unknown is missing."""
    return connect(ContactsService).get_contacts(sorted({customer_of(event) for event in news}))


@step(outside=look_up_contacts)
def notify(
    news: list[News],
    contacts: Mapping[int, Contact],
) -> None:
    """Write down what each customer is to be told, by e-mail and, where there is a phone, by SMS."""
    services.write_down(news, contacts)


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
def purge() -> int:
    """Delete old messages and notifications."""
    return services.purge()

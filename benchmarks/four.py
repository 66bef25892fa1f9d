"""Settings of the shop restricted to four steps, for comparison with systems that do no more; for benchmarks only.

The same kernel, the same steps, the same databases and queues; what goes is listeners. `complete_order` hears
`DeliveryStarted`, as if each parcel arrived at once, and nobody hears what the orders' progress and the customers'
mails are made from. Nothing is deferred, for the end of the last is what is measured. `charge_payment` still asks
its gateway, and writes down the attempt and the gateway's ledger.
"""

from dataclasses import replace

from django.apps import AppConfig

from shop.contracts import events
from shop.saga import ORDER
from shop.settings import *  # noqa: F403
from shop.settings import INSTALLED_APPS, SAGAS, SILENCED_SYSTEM_CHECKS

FOUR = replace(
    ORDER,
    heard_by={
        **ORDER.heard_by,
        events.OrderCreated: ("inventory.reserve_stock",),
        events.InventoryReserved: ("payments.charge_payment",),
        events.PaymentCompleted: ("delivery.start_delivery",),
        events.DeliveryStarted: ("orders.complete_order",),
        events.OrderCompleted: (),
    },
    steps={name: role._replace(deferrable=False) for name, role in ORDER.steps.items()},
)
SAGAS = replace(SAGAS, sagas=[FOUR])


class Four(AppConfig):
    """Has `complete_order` hear what it is told here."""

    name = "benchmarks"

    def ready(self) -> None:
        import orders.tasks  # noqa: F401 (registers the step)
        from sagas.registry import STEPS

        STEPS["orders.complete_order"].hears = (events.DeliveryStarted,)


# What the four steps leave unheard is meant to be.
SILENCED_SYSTEM_CHECKS = [*SILENCED_SYSTEM_CHECKS, "saga.E001", "saga.E003", "saga.E006"]
INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.four.Four"]

"""Settings of the shop restricted to four steps, for comparison with systems that do no more; for benchmarks only.

The kernel, the steps, the databases and the queues are the same; only listeners are removed. `complete_order` hears
`DeliveryStarted`, as if each parcel arrived at once, and no step records progress or notifies customers. Nothing is
deferred, because the end of the last step is measured. `charge_payment` still calls its gateway, and writes our
ledger and the gateway's.
"""

from dataclasses import replace

from django.apps import AppConfig
from msgspec.structs import fields

from shop.contracts import events
from shop.saga import CUSTOMER, ORDER, RETURN
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
SAGAS = replace(SAGAS, sagas=[FOUR, RETURN, CUSTOMER])

# What `DeliveryCompleted` says besides, by default: {field: value}.
LACKING = {
    field.name: field.default
    for field in fields(events.DeliveryCompleted)
    if field.name not in events.DeliveryStarted.__struct_fields__
}


class Four(AppConfig):
    """Makes `complete_order` accept the event that it hears here."""

    name = "benchmarks"

    def ready(self) -> None:
        import orders.tasks  # noqa: F401 (registers the step)
        from sagas.registry import STEPS

        STEPS["orders.complete_order"].hears = (events.DeliveryStarted,)
        for name, value in LACKING.items():
            setattr(events.DeliveryStarted, name, value)


# The four steps leave events unheard on purpose.
SILENCED_SYSTEM_CHECKS = [*SILENCED_SYSTEM_CHECKS, "saga.E001", "saga.E003", "saga.E006"]
INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.four.Four"]

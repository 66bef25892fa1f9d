"""The statuses of an order that other services, operations and the console rely on."""

# In saga order: a late event never moves an order back.
FORWARD: tuple[str, ...] = ("PENDING", "INVENTORY_RESERVED", "PAYMENT_COMPLETED", "DELIVERY_STARTED")
# An order leaves neither of these.
FINAL: tuple[str, ...] = ("COMPLETED", "CANCELLED")

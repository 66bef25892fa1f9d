"""What others may know of orders: the statuses that mean something to them."""

# In the order of the saga: an event that comes late never takes an order back.
FORWARD: tuple[str, ...] = ("PENDING", "INVENTORY_RESERVED", "PAYMENT_COMPLETED", "DELIVERY_STARTED")
# Nothing follows these.
FINAL: tuple[str, ...] = ("COMPLETED", "CANCELLED")

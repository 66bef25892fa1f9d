"""The shop's saga, for tests."""

SAGA_TIMERS = ("delivery.advance_deliveries", "payments.settle_payments")  # those that move it

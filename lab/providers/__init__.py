"""Stand-ins for providers of payments, parcels and messages: they do on this machine what their documentation says.

Each is a small HTTP server with books of its own (`books.py`), which knows nothing of the shop: it checks who asks,
what is asked and in which state it may be, keeps idempotency keys, answers with the provider's errors, shows a payment
page with "pay" and "cancel", and sends the provider's notifications. `server.py` is what they share, and its `Faults`
are every way in which a provider fails.

`manage.py standins` runs them beside a shop. Nothing here is used in production.
"""

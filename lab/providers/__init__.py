"""Stand-ins for providers of payments, parcels and messages: they do on this machine what their documentation says.

Each is a small HTTP server with books of its own (`books.py`), which knows nothing of the shop: it authenticates and
validates requests, checks whether the object's state allows them, stores idempotency keys, responds with the provider's
errors, shows a payment page with "pay" and "cancel", and sends the provider's notifications. `server.py` is what they
share; its `Faults` are all the ways in which a provider can fail.

`manage.py standins` runs them beside a shop. Nothing here is used in production.
"""

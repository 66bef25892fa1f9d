"""Catalog keeps nothing of customers: products, and the staff log, which `shop.calls.personal` adds."""

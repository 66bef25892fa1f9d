"""The kernel's PostgreSQL backend, but health and time are known without a query."""

"""Django's PostgreSQL backend, except for which errors are outages."""

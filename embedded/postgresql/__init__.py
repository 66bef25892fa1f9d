"""A Django database backend that starts the embedded PostgreSQL server when it connects."""

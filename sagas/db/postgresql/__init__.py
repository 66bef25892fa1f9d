"""Django's PostgreSQL backend, except that a connection is checked without asking the server."""

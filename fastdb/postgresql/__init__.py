"""The kernel's PostgreSQL backend, except that its health and the time are known without asking."""

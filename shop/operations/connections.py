"""How many connections to PostgreSQL the shop's processes hold at most, and how many the servers allow.

A connection belongs to a thread and to a database, and stays open until the thread ends. So the most that there can be,
for each database, follows from the processes that run:

    web       WEB_PROCESSES × WEB_THREADS
    worker    one of the service's own (`--concurrency 1`), and those of the workers that read it as well (`READ_BY`)
    relay     one
    watching  one: /metrics and /readyz on a port of their own, or a command
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from django.conf import settings
from django.db import connections

from sagas.db.prepared import query
from sagas.registry import local_services

# Other services' workers that also connect to a service's database when all run in one project: the worker of orders
# compares emitted with handled events everywhere; that of notifications looks up customers.
READ_BY = {service: {"orders"} for service in ("inventory", "payments", "delivery", "notifications")} | {
    "accounts": {"orders", "notifications"}
}
ASK = """
    SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
        (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
"""
FIX = "lower WEB_PROCESSES or WEB_THREADS, or raise PostgreSQL's max_connections or the role's CONNECTION LIMIT"


class Budget(NamedTuple):
    """One PostgreSQL server: the connections that the shop may need, that the server allows, and that are open now."""

    server: str
    needed: int
    allowed: int
    used: int


def needed(service: str) -> int:
    """Connections to one service's database, at most."""
    web: int = settings.WEB_PROCESSES * settings.WEB_THREADS
    workers = 0
    if service in local_services():
        workers = 2 + len(READ_BY.get(service, set()) & set(local_services()))  # and the relay
    return web + workers + 1


def budgets() -> Iterator[Budget]:
    """Yield each server that has databases of this process; none in embedded mode. Raises what the database raises."""
    if settings.EMBEDDED:
        return
    servers: dict[str, list[str]] = defaultdict(list)
    for service in settings.LOCAL_SERVICES:
        database = connections[service].settings_dict
        servers[f"{database['HOST']}:{database['PORT']}"].append(service)
    for server, services in servers.items():
        one_of_each_role = {connections[service].settings_dict["USER"]: service for service in services}
        answers = [query(service, ASK)[0] for service in one_of_each_role.values()]
        given, limits, used = answers[0][0], [limit for _, limit, _ in answers], answers[0][2]
        allowed = given if -1 in limits else min(given, sum(limits))
        yield Budget(server, sum(map(needed, services)), allowed, used)


def shortages() -> list[str]:
    """Return a sentence for each server that allows too few connections. Raises what the database raises."""
    return [
        f"PostgreSQL at {server} allows {allowed} connections, and up to {most} are needed: {FIX}."
        for server, most, allowed, _ in budgets()
        if most > allowed
    ]

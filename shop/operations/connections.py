"""How many connections to PostgreSQL the shop's processes hold at most, and how many they may.

A connection belongs to a thread and to a database, and stays open until the thread ends. So the commands that are run
say how many there can be, for each database:

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

# Other services' workers that also connect to a service's database when all run in one project: orders' compares
# what was emitted with what was handled, everywhere; notifications' asks who a customer is.
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
    """One PostgreSQL server: connections that the shop's processes may need, that it gives, that are open just now."""

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
    """Each server that the databases of this process are on; none embedded. Raises what the database raises."""
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
    """What does not fit, a sentence for each server. Raises what the database raises."""
    return [
        f"PostgreSQL at {server} gives {allowed} connections, and up to {most} are needed: {FIX}."
        for server, most, allowed, _ in budgets()
        if most > allowed
    ]

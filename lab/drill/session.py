"""Runs `manage.py drill`."""

import json as jsonlib
import os
import signal
import sys
import time
from datetime import UTC, datetime
from io import StringIO
from typing import Any, TextIO

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections
from rich.console import Console
from rich.table import Table

from audit import Violation, audit
from lab.chaos.client import Client, Outcome
from lab.chaos.plan import make_plan
from lab.chaos.run import Load
from lab.drill.databases import ACCOUNT, Databases
from lab.machines.programs import programs
from lab.rig.processes import Processes
from lab.rig.servers import HOST, CannotStart, free_ports, until
from lab.rig.system import System, start_again, started_again
from shop.contracts.orders import FINAL

RATE = 10.0  # orders per second
ADVANCED = (("orders", "orders_order"), ("accounts", "accounts_user"), ("catalog", "catalog_product"))
ADVANCE = "SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id) + 1000000) FROM {table}"
PORTS = "DRILL_PORTS"


def play(*, stdout: TextIO, seed: int, **options: Any) -> int:
    """Run; return the exit code. Raises CommandError if the drill cannot begin."""
    try:
        if not started_again():
            programs()  # fetched, where they are missing
            ports = dict(zip(settings.SERVICES, free_ports(len(settings.SERVICES)), strict=True))
            urls = {
                f"{service.upper()}_DATABASE_URL": f"postgres://{ACCOUNT}@{HOST}:{port}/shop_{service}"
                for service, port in ports.items()
            }
            start_again("drill", defaults={"STALLED_AFTER": "5"}, chosen={PORTS: jsonlib.dumps(ports), **urls})
        signal.signal(signal.SIGTERM, _interrupt)
        return _run(seed, stdout=stdout, **options)
    except CannotStart as error:
        raise CommandError(str(error), returncode=2) from error
    except KeyboardInterrupt:
        print("Stopped; nothing of the drill is left running.", file=sys.stderr)
        return 130


def _run(seed: int, *, stdout: TextIO, orders: int, json: bool, keep: bool, patience: float, **_: Any) -> int:
    console = Console(stderr=json, highlight=False)
    plan = make_plan(seed, orders=orders, faults=0, kinds=[], gaps=(1, 1))
    with _System(console=console, keep=keep) as system:
        figures = _Drill(system, plan, console=console).practise(patience)
        good = not figures["violations"] and not figures["ordersOfBeforeLost"]
        system.keep = system.keep or not good
    if json:
        stdout.write(jsonlib.dumps(figures))
    else:
        table = Table("what", "", title="Restored" if good else "Not restored")
        for name, value in figures.items():
            table.add_row(name, str(value))
        console.print(table)
    return 0 if good else 1


class _System(System):
    """A system with seven PostgreSQL servers instead of one."""

    def __init__(self, *, console: Console, keep: bool) -> None:
        super().__init__(console=console, keep=keep)
        ports = jsonlib.loads(os.environ[PORTS])
        self.postgres = self.databases = Databases(self.home / "databases", ports, programs())  # type: ignore[assignment]

    def run_again(self) -> None:
        """Start the shop's processes, all of which have ended."""
        self.processes = Processes(self.home, list(self._ports.web))
        self._exits.callback(self.processes.stop)
        self.processes.start()


class _Drill(Load[_System]):
    def practise(self, patience: float) -> dict[str, Any]:
        """Back up, place orders, lose all databases, restore them to one moment, repair, audit; return the figures."""
        system, figures = self.system, dict[str, Any]()
        databases = system.databases
        figures["backupSeconds"] = round(databases.back_up(), 1)
        system.say(f"  backups of seven databases in {figures['backupSeconds']} s")
        client = Client(system.urls, self.tokens, self.plan.orders, RATE)
        client.start(8)
        half = len(self.plan.orders) // 2
        until(lambda: client.placed >= half, "half of the load", seconds=600)
        moment = datetime.now(UTC)
        until(lambda: not client.busy, "the end of the load", seconds=600)
        databases.archive()
        system.processes.stop()
        connections.close_all()
        databases.lose()
        system.say(f"  all databases are lost; they are restored to {moment:%H:%M:%S}, when {half} orders were placed")
        # All to the same moment, for they share a clock: nothing is committed earlier than what it follows from.
        figures["restoreSeconds"] = round(databases.restore(moment), 1)
        system.rabbitmq.wipe()
        system.redis.client.flushall()
        for service, table in ADVANCED:
            databases.ask(service, ADVANCE.format(table=table), f"shop_{service}")
        began = time.monotonic()
        system.run_again()
        told = StringIO()
        call_command("redrive", "--missing", stdout=told)
        figures["redriven"] = told.getvalue().strip()
        self._await_rest(patience)
        figures["healingSeconds"] = round(time.monotonic() - began, 1)
        connections.close_all()
        return figures | self._found(client, moment) | {"backups": len(jsonlib.loads(databases.info()))}

    def _found(self, client: Client, moment: datetime) -> dict[str, Any]:
        with connections["orders"].cursor() as cursor:
            cursor.execute("SELECT id, status FROM orders_order")
            status = dict(cursor.fetchall())
        placed = [one for one in client.operations if one.what == "place" and one.outcome == Outcome.OK]
        before = [one.order_id for one in placed if one.ended < moment.timestamp()]
        violations = [found for found in audit(strict=True) if isinstance(found, Violation)]
        return {
            "ordersAnsweredBefore": len(before),
            "ordersOfBeforeLost": len([one for one in before if one not in status]),
            "ordersOfAfterLost": len([one for one in placed if one.order_id not in status]),
            "notEnded": len([one for one in status.values() if one not in FINAL]),
            "violations": [str(one) for one in violations[:20]],
        }


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)

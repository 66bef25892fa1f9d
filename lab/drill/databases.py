"""A PostgreSQL server for each service, archived and backed up by Debian's pgBackRest."""

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg2

from lab.machines.programs import ACCOUNT, Programs
from lab.rig.servers import HOST, until

AS_ACCOUNT = ("setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups")
CONFIGURATION = """
port = {port}
listen_addresses = '{host}'
unix_socket_directories = '{home}'
max_connections = 100
shared_buffers = 32MB
wal_level = replica
archive_mode = on
archive_command = '{pgbackrest} --stanza={service} archive-push %p'
archive_timeout = 60
"""
PGBACKREST = """
[global]
repo1-path={home}/repository
repo1-retention-full=2
start-fast=y
lock-path={home}/lock
log-path={home}/log
log-level-console=warn
compress-type=gz
compress-level=1
"""
STANZA = """
[{service}]
pg1-path={data}
pg1-port={port}
pg1-socket-path={home}
pg1-user={account}
"""


class Databases:
    """The servers. Their backup repository represents storage that is not lost with them."""

    def __init__(self, home: Path, ports: Mapping[str, int], programs: Programs) -> None:
        self.home, self.ports, self._programs = home, dict(ports), programs
        self.port = ", ".join(map(str, ports.values()))

    # --- Each of them -------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Create the servers, start them, and begin to archive."""
        for folder in (self.home, self.home / "repository", self.home / "lock", self.home / "log"):
            folder.mkdir(parents=True)
            shutil.chown(folder, ACCOUNT, ACCOUNT)
        stanzas = [
            STANZA.format(service=service, data=self.home / service, port=port, home=self.home, account=ACCOUNT)
            for service, port in self.ports.items()
        ]
        (self.home / "pgbackrest.conf").write_text(PGBACKREST.format(home=self.home) + "".join(stanzas))
        self._each(self._make)

    def _make(self, service: str) -> None:
        data = self.home / service
        initdb = self._programs.postgres / "initdb"
        self._run(initdb, "-D", data, "-U", ACCOUNT, "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        told = CONFIGURATION.format(
            port=self.ports[service], host=HOST, home=self.home, service=service, pgbackrest=" ".join(self._backrest)
        )
        with (data / "postgresql.conf").open("a") as file:
            file.write(told)
        self._ctl(service, "start")
        self._pgbackrest(service, "stanza-create")

    @property
    def _backrest(self) -> list[str]:
        return [str(self._programs.pgbackrest), f"--config={self.home}/pgbackrest.conf"]

    def _ctl(self, service: str, *action: str) -> None:
        log = self.home / f"{service}.log"
        self._run(self._programs.postgres / "pg_ctl", "-w", "-D", self.home / service, "-l", log, *action)

    def _pgbackrest(self, service: str, *arguments: str) -> None:
        self._run(*self._backrest, f"--stanza={service}", *arguments)

    def _run(self, *command: str | Path) -> None:
        subprocess.run([*AS_ACCOUNT, *command], check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=300)

    def _each(self, work: Callable[[str], Any]) -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(work, self.ports))

    def ask(self, service: str, sql: str, database: str = "postgres") -> Any:
        """Query one value. Raises psycopg2.OperationalError."""
        where = {"host": HOST, "port": self.ports[service], "user": ACCOUNT, "dbname": database}
        with closing(psycopg2.connect(**where)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                row = cursor.fetchone()
                return row[0] if row else None

    # --- All of them --------------------------------------------------------------------------------------------------
    def back_up(self) -> float:
        """Make a full backup of each server; return the seconds it took."""
        began = time.monotonic()
        self._each(lambda service: self._pgbackrest(service, "--type=full", "backup"))
        return time.monotonic() - began

    def info(self) -> str:
        """Return pgBackRest's information about all backups, as JSON."""
        done = subprocess.run(
            [*AS_ACCOUNT, *self._backrest, "info", "--output=json"], check=True, capture_output=True, text=True
        )
        return done.stdout

    def archive(self) -> None:
        """Wait until everything committed so far is in the archive, as it would be after `archive_timeout`."""
        self._each(self._archive)

    def _archive(self, service: str) -> None:
        self.ask(service, "SELECT pg_current_xact_id()")  # recovery to a moment ends at the first commit after it
        segment = self.ask(service, "SELECT pg_walfile_name(pg_switch_wal())")
        last = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver"
        until(lambda: self.ask(service, last) >= segment, f"the archive of {service}", seconds=120)

    def lose(self) -> None:
        """Stop the servers and delete their disks."""
        for service in self.ports:
            self._ctl(service, "stop", "-m", "immediate")
            shutil.rmtree(self.home / service)

    def restore(self, moment: datetime) -> float:
        """Restore all servers to a moment; return the seconds until all accept writes."""
        began = time.monotonic()
        self._each(lambda service: self._restore(service, moment))
        return time.monotonic() - began

    def _restore(self, service: str, moment: datetime) -> None:
        target = moment.strftime("%Y-%m-%d %H:%M:%S.%f+00")
        self._pgbackrest(service, "--type=time", f"--target={target}", "--target-action=promote", "restore")
        self._ctl(service, "start")
        until(
            lambda: not self.ask(service, "SELECT pg_is_in_recovery()"), f"the end of {service}'s recovery", seconds=120
        )

    def stop(self) -> None:
        for service in self.ports:
            if (self.home / service / "postmaster.pid").exists():
                self._ctl(service, "stop", "-m", "immediate")

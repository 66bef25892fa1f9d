"""All of docker-compose.yml as processes of this machine, with the commands and environments that are written there.

Each container becomes a process with its own loopback address; its files are those that the Dockerfile copies. The
three servers are those of the test run: PostgreSQL with the roles of deploy/postgres, the run's vhost and Redis
databases. What differs is in `Stage._placed`, and nowhere else.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import httpx
import psycopg2
from django.conf import settings

from scripts.servers import Memory, RabbitMQ
from tests.support.compose import OURS, SERVICES, WEB, dotenv, environment_of
from tests.support.gateway import NETWORK, Names, free_port, nginx
from tests.support.image import lay_out
from tests.support.ordering import PAID_AND_SENT
from tests.support.processes import ROOT, Process, eventually

BIN = Path(sys.executable).parent
PASSWORD = "seed-pass-1"
# What a deployment may set too; here it makes waiting short, and lets subscribers be on this machine.
HASTE = {
    "HANDOVER_AFTER": "1",
    "DELIVERED_AFTER": "0.2",
    "STALLED_AFTER": "1",
    "BREAKER_OPEN_FOR": "0.5",
    "EMAIL_URL": "dummymail:",
    "MESSAGES_PER_HOUR": "0",
    "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
}


class Stage:
    """The processes, the gateway in front of them, and the operators' commands."""

    def __init__(self, folder: Path, given: Mapping[str, str]) -> None:
        self.folder = folder
        self.image = folder / "image"
        self.port = free_port()
        self.names = Names()
        self.addresses = {name: f"{NETWORK}.{10 + number}" for number, name in enumerate(OURS)}
        self.prefix = f"{settings.DATABASES['orders']['NAME'].removeprefix('test_').removesuffix('orders')}up_"
        self.processes: dict[str, Process] = {}
        server = settings.DATABASES["orders"]
        self.server = f"{server['HOST'] or '127.0.0.1'}:{server['PORT'] or 5432}"
        self._rabbitmq = RabbitMQ(Memory())
        self._owner = f"{server['USER']}:{server.get('PASSWORD', '')}"
        subprocess.run([sys.executable, ROOT / "scripts/dotenv.py", folder / ".env"], check=True, capture_output=True)
        hosts = ",".join(["localhost", f"{NETWORK}.1", *self.addresses.values(), f"{NETWORK}.100"])
        self.variables = dotenv((folder / ".env").read_text()) | HASTE
        self.variables |= {"ALLOWED_HOSTS": hosts, "SEED_PASSWORD": PASSWORD, "SANDBOX": "1", **given}

    # --- Setting up -------------------------------------------------------------------------------------------------
    def build(self) -> None:
        """What the Dockerfile does: the files it copies, compiled."""
        lay_out(self.image)
        subprocess.run([sys.executable, "-m", "compileall", "-q", "."], cwd=self.image, check=True)

    def make_roles(self) -> None:
        """What PostgreSQL's image does when it makes its data."""
        passwords = {name: self.variables[name] for name in SERVICES["roles"]["environment"] if name != "PGPASSWORD"}
        subprocess.run(
            [ROOT / "deploy/postgres/roles.sh", f"postgresql://{self._owner}@{self.server}/postgres"],
            env={"PATH": os.environ["PATH"], "DATABASE_PREFIX": self.prefix, **passwords},
            check=True,
        )

    def make_users(self) -> None:
        """What `broker` does by the management API, which these servers may lack."""
        vhost = unquote(urlsplit(settings.BROKER_URL).path[1:]) or "/"
        done = self.run("broker", "python", "manage.py", "broker", "--definitions", "--vhost", vhost)
        assert done.returncode == 0, done.stderr
        self._rabbitmq.define(settings.BROKER_URL, done.stdout)

    def drop_roles(self) -> None:
        self._rabbitmq.drop_users(settings.BROKER_URL, self.prefix)
        connection = psycopg2.connect(f"postgresql://{self._owner}@{self.server}/postgres")
        connection.autocommit = True
        with connection.cursor() as cursor:
            for service in settings.SERVICES:
                cursor.execute(f'DROP DATABASE IF EXISTS "{self.prefix}{service}" WITH (FORCE)')
                cursor.execute(f'DROP ROLE IF EXISTS "{self.prefix}{service}"')
            cursor.execute(f'DROP ROLE IF EXISTS "{self.prefix}monitor"')
        connection.close()

    # --- Containers as processes ------------------------------------------------------------------------------------
    def environment(self, name: str) -> dict[str, str]:
        """A container's: what compose gives it, and what its image has."""
        given = {key: self._placed(value, name) for key, value in environment_of(name, self.variables).items()}
        given |= {"DATABASE_PREFIX": self.prefix}
        image = {"PATH": f"{BIN}:{os.environ['PATH']}", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        return {**image, **HASTE, **given, "LANG": "C.UTF-8"}

    def _placed(self, text: str, name: str, address: str = "") -> str:
        """A text of docker-compose.yml with host names, ports and databases as they are here."""
        text = re.sub(
            r"http://(?!localhost)([a-z]+):8080", lambda match: f"http://{self.addresses[match[1]]}:{self.port}", text
        )
        text = text.replace("0.0.0.0 --port 8080", f"{address or self.addresses.get(name)} --port {self.port}")
        text = text.replace("--address=0.0.0.0", f"--address={self.addresses.get(name)}")
        text = text.replace("postgres:5432", self.server).replace("shop_", self.prefix)
        if text.startswith("amqp:"):
            user, vhost = text.partition("@")[0], urlsplit(settings.BROKER_URL).path
            return f"{user}@{urlsplit(settings.BROKER_URL).netloc.rpartition('@')[2]}{vhost}"
        if text.startswith("/tmp/"):  # each container has a /tmp of its own
            return str(self.folder / f"{name} {Path(text).name}")
        if text == "0.0.0.0":
            return self.addresses[name]
        if text.startswith("redis:"):
            return settings.CACHES[{"1": "locks", "2": "default"}[text[-1]]]["LOCATION"]
        return text

    def start(self, name: str, *, container: str = "", address: str = "") -> Process:
        """Start a container's command; `container` and `address` are those of a second replica."""
        command = shlex.split(self._placed(OURS[name]["command"], name, address))
        known = container or name
        log = self.folder / f"{known}.log"
        if known in self.processes:
            log = self.folder / f"{known} again.log"
        self.processes[known] = Process(known, command, self.environment(name), log, cwd=self._files(known))
        return self.processes[known]

    def _files(self, container: str) -> Path:
        """A container's own view of the image's files, with a var/ of its own."""
        files = self.folder / "containers" / container
        if not files.exists():
            files.mkdir(parents=True)
            for one in self.image.iterdir():
                (files / one.name).symlink_to(one)
            (files / "var").mkdir()
        return files

    def run(self, name: str, *command: str) -> subprocess.CompletedProcess[str]:
        """A one-shot, or, with a command, what `docker compose exec` does."""
        words = list(command) or shlex.split(OURS[name]["command"])
        return subprocess.run(
            words, cwd=self._files(name), env=self.environment(name), capture_output=True, text=True, timeout=120
        )

    def is_healthy(self, address: str) -> bool:
        try:
            return httpx.get(f"http://{address}:{self.port}/readyz", timeout=10).status_code == 200
        except httpx.HTTPError:
            return False

    def healthy(self, name: str) -> None:
        eventually(lambda: self.is_healthy(self.addresses[name]))

    def stop(self) -> None:
        """End everything at once: how each of them ends when it is told to is tested elsewhere."""
        for process in self.processes.values():
            if process.runs:
                process.kill()
        self.names.close()


class Customer(httpx.Client):
    """Somebody in front of the gateway."""

    def sign_in(self, email: str, password: str = PASSWORD) -> Self:
        answer = self.post("/api/v1/auth/token", json={"email": email, "password": password})
        assert answer.status_code == 200, answer.text
        self.headers["Authorization"] = f"Bearer {answer.json()['access']}"
        return self

    def read(self, path: str) -> Any:
        answer = self.get(f"/api/v1/{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def order(self, *, wait: int = 0, **wishes: Any) -> httpx.Response:
        headers = {"Prefer": f"wait={wait}"} if wait else {}
        return self.post("/api/v1/orders", json=PAID_AND_SENT | wishes, headers=headers)

    def status(self, order_id: int) -> str:
        return self.read(f"orders/{order_id}")["status"]


@contextmanager
def raised(folder: Path, given: Mapping[str, str]) -> Iterator[tuple[Stage, str]]:
    """Everything that `docker compose --profile sample up` starts, with what is `given` in its .env besides.

    Yields the stage and the gateway's URL.
    """
    stage = Stage(folder, given)
    try:
        stage.build()
        stage.drop_roles()
        stage.make_roles()
        stage.make_users()
        for one_shot in ("migrate", "seed"):
            done = stage.run(one_shot)
            assert done.returncode == 0, done.stderr
        for name, service in OURS.items():
            if service["restart"] == "unless-stopped":
                stage.start(name)
        for name in WEB:
            stage.names.addresses[name] = [stage.addresses[name]]
            stage.healthy(name)
        with nginx(folder / "gateway", stage.names, stage.port) as url:
            yield stage, url
    finally:
        stage.stop()
        stage.drop_roles()

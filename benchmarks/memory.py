"""Measures the memory of one worker per service, and of the embedded shop, with its start-up time.

    .venv/bin/python scripts/services.py exec -- .venv/bin/python -m benchmarks.memory

MiB after some work. `own` is what ends with the process (its private pages), `with shared` its resident set, in which
pages shared with its parent count again. A worker is two processes: Celery's, and the child that runs the steps.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import psutil
from rich.console import Console

from benchmarks.measure import backlog
from benchmarks.results import FOLDER, Rows, as_table, machine
from benchmarks.surroundings import QUEUES, ROOT, Processes, Unfit, own_queues, refuse_unfit_surroundings
from benchmarks.systems import Shop

ORDERS = 1000
PATIENCE = 60  # seconds for the embedded shop to answer
MIB = 1024 * 1024


class PerService(Shop):
    """A relay, and a worker for each service, as in Procfile."""

    name = "memory"

    def commands(self) -> Processes:
        commands = {"relay": [sys.executable, "manage.py", "relay"]}
        for service in QUEUES:
            commands[service] = [
                *(sys.executable, "-m", "celery", "-A", "shop", "worker", "-l", "WARNING"),
                *("-Q", service, "-n", f"{service}@%h", "--concurrency", "1"),
            ]
        return Processes(commands, self.environment)


def of_services() -> dict[str, dict[str, float]]:
    """Return the MiB of each process after some orders."""
    with ExitStack() as cleanup:
        cleanup.enter_context(own_queues())
        shop = PerService(cleanup)
        with shop.running():
            backlog(shop, ORDERS, "", lambda *_: None)
            assert shop.processes
            found = {}
            for name, pid in zip(("relay", *QUEUES), shop.processes.pids, strict=True):
                process = psutil.Process(pid)
                found[name if name == "relay" else f"{name}: Celery"] = mib(process)
                for child in process.children():
                    found[f"{name}: steps"] = mib(child)
            return found


def of_embedded() -> dict[str, Any]:
    """Run `make up` on an empty and on a filled `var/`; return the seconds until it answers, and the MiB then."""
    with tempfile.TemporaryDirectory(prefix="shop-") as folder:
        os.chmod(folder, 0o755)  # as root, PostgreSQL runs under another account
        first = _up(Path(folder))
        return {"first": first, "again": _up(Path(folder))}


def _up(var: Path) -> dict[str, Any]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    named = ("PATH", "HOME", "LANG", "PYTHONPATH")  # nothing that names servers: it brings its own
    environment = {name: os.environ[name] for name in named if name in os.environ}
    environment |= {"SHOP_VAR": str(var), "PORT": str(port)}
    began = time.monotonic()
    with (var / "printed").open("wb") as printed:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "up"], cwd=ROOT, env=environment, stdout=printed, stderr=printed
        )
    try:
        while not _answers(f"http://127.0.0.1:{port}/readyz"):
            if process.poll() is not None or time.monotonic() > began + PATIENCE:
                raise Unfit(f"`manage.py up` did not answer:\n{(var / 'printed').read_text()[-2000:]}")
            time.sleep(0.05)
        seconds = time.monotonic() - began
        shop = psutil.Process(process.pid)
        others = [one for one in shop.children(recursive=True) if not one.name().startswith("postgres")]
        return {"seconds": seconds, "shop": mib(shop), "other processes": [one.name() for one in others]}
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=1) as response:
            return response.status == 200
    except (URLError, OSError):
        return False


def mib(process: psutil.Process) -> dict[str, float]:
    used = process.memory_full_info()
    return {"own": used.uss / MIB, "with shared": used.rss / MIB}


def main(arguments: Sequence[str]) -> int:
    assert __doc__
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help="where the JSON goes (benchmarks/results)")
    options = parser.parse_args(arguments)
    console = Console()
    try:
        refuse_unfit_surroundings()
        on, embedded = machine(), of_embedded()
        services = of_services()
    except Unfit as unfit:
        console.print(str(unfit), style="red", highlight=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        return 130
    options.out.mkdir(parents=True, exist_ok=True)
    record = {"machine": on, "services_mib": services, "embedded": embedded}
    (options.out / "memory.json").write_text(json.dumps(record, indent=1) + "\n")
    rows: Rows = [("process", "own, MiB", "with shared, MiB")]
    parts = services | {f"embedded, {when}": one["shop"] for when, one in embedded.items()}
    rows += [(name, f"{used['own']:.0f}", f"{used['with shared']:.0f}") for name, used in parts.items()]
    console.print(as_table("Memory", rows))
    for when, one in embedded.items():
        console.print(f"`make up`, {when}: answers after {one['seconds']:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The embedded mode, as somebody uses it who has just cloned the project: its commands, in processes of their own."""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from sagas.saga import service_of
from shop.saga import ORDER
from tests.support.processes import eventually
from tests.support.stage import Customer
from tests.support.whole_life import LIFE

pytestmark = pytest.mark.documented

ROOT = Path(__file__).parents[2]
KEPT = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")  # nothing that names a server
SOON = {"HANDOVER_AFTER": "1", "DELIVERED_AFTER": "0.2"}  # seconds
PATIENCE = 120

started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _nothing_goes_on() -> Iterator[None]:
    """What a failed test has left running is not in the way of the next one."""
    yield
    while started:
        with started.pop() as process:
            process.kill()


@pytest.fixture(scope="module")
def var() -> Iterator[Path]:
    """An empty SHOP_VAR, the same for all tests here: making a new cluster takes its time."""
    with tempfile.TemporaryDirectory(prefix="shop-var-") as path:
        Path(path).chmod(0o755)  # root runs PostgreSQL as somebody else
        yield Path(path)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(command: str, *arguments: str, var: Path, port: int, **settings: str) -> subprocess.Popen[str]:
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "manage.py", command, *arguments],
        cwd=ROOT,
        env=environment
        | {"SHOP_VAR": str(var), "PORT": str(port), "TRACE_FILE": str(var / "traces"), "PYTHONUNBUFFERED": "1"}
        | settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    started.append(process)
    return process


def serving(process: subprocess.Popen[str]) -> str:
    """What `up` has said by the time it serves."""
    assert process.stdout is not None
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    said = ""
    for line in process.stdout:
        said += line
        if "Ctrl-C stops it" in line:
            break
    watchdog.cancel()
    assert "Ctrl-C stops it" in said, said
    return said


def readable_by_others(var: Path) -> list[str]:
    """The files that hold what somebody said or bought: e-mails, logs, traces, secrets."""
    files = [path for path in var.rglob("*") if path.is_file() and "postgres" not in path.relative_to(var).parts]
    assert {"shop.log", "traces", "seed-password"} <= {path.name for path in files}
    return [str(path) for path in files if path.stat().st_mode & 0o077]


def processes(var: Path) -> list[list[str]]:
    """The command lines of what still works on that data."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if str(var) in " ".join(words) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(words)
    return found


def test_the_demo_plays_every_flow_and_ends_them_as_they_must(var: Path, port: int) -> None:
    demo = start("demo", var=var, port=port)
    said, _ = demo.communicate(timeout=PATIENCE)

    assert demo.returncode == 0, said
    assert re.findall(r"^(\d) · ", said, re.MULTILINE) == ["1", "2", "3", "4", "5", "6", "7", "8"]
    for line in (
        "the order is COMPLETED",
        "one buyer gets it",
        "99 are refused for insufficient stock",
        "no lock is left",
        "the money is refunded",
        "the piece is on the shelf again",
        "it costs nothing",
        "Audit clean",
        f"http://127.0.0.1:{port}/docs/",
        "All flows ended as they must",
    ):
        assert line in said
    assert "✗" not in said
    assert "ERROR" not in said
    assert processes(var) == []

    forget = "from inventory.models import Inbox; Inbox.objects.filter(step='inventory.ship_stock').delete()"
    start("shell", "-v0", "-c", forget, var=var, port=port).communicate(timeout=PATIENCE)
    for command, code, found in (
        (["audit", "--strict"], 1, "violations"),
        (["redrive", "--missing"], 0, "events of"),
        (["audit", "--strict"], 0, "Audit clean"),
    ):
        run = start(*command, var=var, port=port)
        told, _ = run.communicate(timeout=PATIENCE)
        assert (run.returncode, found in told) == (code, True), told

    drawn, _ = start("trace", "1", var=var, port=port).communicate(timeout=PATIENCE)
    services = re.findall(r"ms +(shop\S*) ", drawn)
    assert drawn.count("order 1, trace ") == 1, drawn
    assert set(services) == {"shop", *(f"shop-{one}" for one in map(service_of, ORDER.steps))}
    assert re.search(r" 0\.0 ms .* shop +POST api/v1/orders .*\n.* shop-orders +  orders\.relay OrderCreated", drawn)


def lives(url: str, password: str) -> None:
    """All that can become of an order."""
    with Customer(base_url=url, timeout=30) as customer, Customer(base_url=url, timeout=30) as staff:
        customer.sign_in("customer1@example.com", password)
        for played in LIFE:
            played(customer, staff.sign_in("admin@example.com", password))  # each time: it is good for a minute


def test_up_serves_until_ctrl_c_and_leaves_no_process(var: Path, port: int) -> None:
    up = start("up", var=var, port=port, **SOON)
    assert f"http://127.0.0.1:{port}/docs/" in serving(up)
    assert processes(var)
    audit = start("audit", var=var, port=port)  # shares the running PostgreSQL, and leaves it running
    said, _ = audit.communicate(timeout=PATIENCE)
    assert audit.returncode == 0, said
    with urlopen(f"http://127.0.0.1:{port}/readyz") as answer:
        assert answer.status == 200
    lives(f"http://127.0.0.1:{port}", (var / "seed-password").read_text())

    up.send_signal(signal.SIGINT)
    said, _ = up.communicate(timeout=PATIENCE)

    assert up.returncode == 0, said
    assert [line.split()[1] for line in said.splitlines() if "✓" in line] == [
        "web", "timers", "relay", "worker", "PostgreSQL",
    ]  # fmt: skip
    assert said.endswith("Stopped.\n")
    assert processes(var) == []
    assert readable_by_others(var) == []


def test_killed_outright_it_takes_postgresql_along_and_starts_again(var: Path, port: int) -> None:
    up = start("up", var=var, port=port)
    serving(up)
    up.kill()
    up.communicate(timeout=PATIENCE)

    eventually(lambda: not processes(var))

    again = start("up", var=var, port=port)
    serving(again)
    other = start("demo", var=var, port=port)
    said, _ = other.communicate(timeout=PATIENCE)
    assert other.returncode == 1
    assert f"process {again.pid}, port {port}" in said

    again.terminate()
    again.communicate(timeout=PATIENCE)
    assert again.returncode == 0
    assert processes(var) == []


def test_a_port_in_use_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        up = start("up", var=tmp_path, port=taken.getsockname()[1])
        said, _ = up.communicate(timeout=PATIENCE)
        assert up.returncode == 1
        assert f"Port {taken.getsockname()[1]} cannot be used" in said
    assert not (tmp_path / "postgres").exists()

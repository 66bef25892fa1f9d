"""Machines made of namespaces: what each fault does to them, and that nothing is left.

`make machines-test` is a run with everything on them.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from django.conf import settings

from lab.machines import guard
from lab.machines.faults import KINDS
from tests.support.processes import eventually

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"),
    reason="Namespaces are made by root, with util-linux and iproute2.",
)


@needs_root
def test_each_fault_does_what_it_says_and_is_undone(tmp_path: Path):
    tmp_path.chmod(0o755)
    before = Path("/proc/net/dev").read_text().count(":"), Path("/etc/hosts").read_text()
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "shop.settings", "PYTHONPATH": str(settings.BASE_DIR)}
    command = ["unshare", "--net", "--mount", "--", sys.executable, "-m", "tests.support.bare_machines", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=settings.BASE_DIR, env=environment, timeout=240)

    assert done.returncode == 0, done.stderr
    # Whether it answers the client, whether the other machine reaches it, and whether that one answers the client.
    assert json.loads(done.stdout) == {
        "killed": [False, False, True],
        "cut off": [False, False, True],
        "cannot send": [False, False, True],
        "cannot hear": [True, False, True],
    }
    assert (Path("/proc/net/dev").read_text().count(":"), Path("/etc/hosts").read_text()) == before
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Processes that stand for a machine's database and broker, with their ids where the guard looks for them."""
    servers = {}
    for name, pid_file in {"postgres": "postgres/data/postmaster.pid", "rabbitmq": "rabbitmq/pid"}.items():
        # Background jobs of a shell, such as the runs of `make test`, ignore SIGQUIT, and so would these.
        servers[name] = subprocess.Popen(["env", "--default-signal=QUIT", "sleep", "1000"])
        (tmp_path / pid_file).parent.mkdir(parents=True)
        (tmp_path / pid_file).write_text(f"{servers[name].pid}\nand more\n")
    eventually(lambda: all(psutil.Process(one.pid).name() == "sleep" for one in servers.values()))  # heeds it now
    yield servers
    for one in servers.values():
        one.kill()
        one.wait()


@pytest.mark.parametrize(
    ("full", "primary", "deaf_for", "ended"),
    [
        (True, True, 0.0, {"postgres": signal.SIGQUIT, "rabbitmq": signal.SIGKILL}),
        (True, False, 0.0, {"rabbitmq": signal.SIGKILL}),
        (False, True, 0.0, {}),
        (False, True, guard.DEAF_FOR - 1, {}),
        (False, True, guard.DEAF_FOR + 1, {"rabbitmq": signal.SIGKILL}),
    ],
)
def test_what_is_of_no_use_any_more_is_ended(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    servers: dict[str, subprocess.Popen[bytes]],
    full: bool,
    primary: bool,
    deaf_for: float,
    ended: dict[str, signal.Signals],
):
    watch = guard.Guard(tmp_path)
    for name, answer in {
        "is_full": lambda _: full,
        "is_primary": lambda: primary,
        "is_deaf": lambda: deaf_for > 0,
    }.items():
        monkeypatch.setattr(guard, name, answer)
    later = time.monotonic() + deaf_for
    monkeypatch.setattr(guard.time, "monotonic", lambda: later)

    watch.look()
    assert {name: -servers[name].wait(20) for name in ended} == ended
    assert {name for name, one in servers.items() if one.poll() is None} == servers.keys() - ended.keys()
    watch.look()  # with nothing left to end


def test_every_fault_comes_to_the_primarys_machine_and_to_another():
    assert len(KINDS) == 16
    assert sum(kind.primary for kind in KINDS.values()) == 8


def test_a_fault_that_there_is_not_is_refused():
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "chaos", "--machines", "--kinds", "flood"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd="/", env=os.environ | {"CHAOS_HOME": "/nowhere", "CHAOS_SEED": "1"}
    )
    assert done.returncode == 1
    assert "No such fault: flood. There are: primary's machine killed" in done.stderr

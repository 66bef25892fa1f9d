"""`make run`: busy ports are refused, and it ends in a summary that is true, twice with the same passwords."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from django.conf import settings

pytestmark = pytest.mark.acceptance

RUN = [sys.executable, str(settings.BASE_DIR / "scripts/run.py")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    own = {"PORT": str(free_port()), "FLOWER_PORT": str(free_port()), "SHOP_VAR": str(tmp_path / "var")}
    return {name: value for name, value in os.environ.items() if name not in ("SECRET_KEY", "DEBUG")} | own


@pytest.mark.parametrize("variable", ["PORT", "FLOWER_PORT"])
def test_a_port_that_is_held_is_refused(environment: dict[str, str], variable: str, tmp_path: Path):
    with socket.create_server(("127.0.0.1", int(environment[variable])), reuse_port=True):  # as granian does
        run = subprocess.run(RUN, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert run.stderr.startswith(f"run: port {environment[variable]}, for ")
    assert f"{variable}={int(environment[variable]) + 1} make run" in run.stderr
    assert not (tmp_path / "var").exists()


def test_what_it_cannot_run_is_refused(environment: dict[str, str]):
    for arguments, more, sentence in (
        (["webb"], {}, "Procfile has no webb; it has web, inventory"),
        ([], {"PORT": "80808"}, "PORT is '80808': give a port"),
        ([], {"PORT": "x"}, "PORT is 'x': give a port"),
    ):
        run = subprocess.run(
            [*RUN, *arguments], env=environment | more, capture_output=True, text=True, timeout=60
        )  # fmt: skip
        assert (run.returncode, sentence in run.stderr, "Traceback" in run.stderr) == (1, True, False)


WORKER = """
import signal, subprocess, sys
handler = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: print('killed', flush=True)); "
wait = "print('up', flush=True); sys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", handler + wait], stdin=subprocess.PIPE)
signal.signal(signal.SIGTERM, lambda *_: child.stdin.close())
child.wait()
print("ended", child.returncode, flush=True)
"""


def test_a_program_ends_its_children_itself(tmp_path: Path):
    (tmp_path / "worker.py").write_text(WORKER)
    procfile = {"worker": f"{sys.executable} {tmp_path / 'worker.py'}"}
    script = f"import sys; sys.path.insert(0, 'scripts'); import run; run.supervise({{}}, {procfile})"
    command, said = [sys.executable, "-c", script], ""
    with subprocess.Popen(command, cwd=settings.BASE_DIR, stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout:  # type: ignore[union-attr]
            said += line
            if "| up" in line:
                run.send_signal(signal.SIGINT)
    assert "ended 0" in said, said
    assert "killed" not in said, said


def test_it_ends_in_a_summary_and_keeps_its_passwords(environment: dict[str, str]):
    said = [until_it_serves(environment), until_it_serves(environment, "web", "flower")]
    passwords = {re.search(r"admin@example.com with the password (\S+)", one)[1] for one in said}  # type: ignore[index]
    assert len(passwords) == 1
    for one in said:
        assert f"shop         http://127.0.0.1:{environment['PORT']}/\n" in one
        assert f"Flower       http://127.0.0.1:{environment['FLOWER_PORT']}  as admin with the password " in one
        assert len(one.splitlines()) < 25, one
        assert "Inspect method" not in one, one  # workers take no commands without DEBUG
    assert len({re.search(r"as admin with the password (\S+)", one)[1] for one in said}) == 1  # type: ignore[index]


def until_it_serves(environment: dict[str, str], *names: str) -> str:
    """Start it, read to the end of the summary, look at the landing page and Flower, and stop it; what it said."""
    run = subprocess.Popen([*RUN, *names], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = ""
    try:
        for line in run.stdout:  # type: ignore[union-attr]
            said += line
            if "Ctrl-C stops it." in line:
                break
        flower, url = f"http://127.0.0.1:{environment['FLOWER_PORT']}", f"http://127.0.0.1:{environment['PORT']}"
        with httpx.Client(trust_env=False, timeout=20) as client:
            page = client.get(url).text
            password = re.search(r"as admin with the password (\S+)", said)[1]  # type: ignore[index]
            assert client.get(flower, auth=("admin", password), follow_redirects=True).status_code == 200
        assert f'href="{flower}"' in page
        assert "fault" not in page.lower()  # without DEBUG there are no switches
    finally:
        run.send_signal(signal.SIGINT)
        rest = run.communicate(timeout=60)[0]
    assert "Traceback" not in said + rest, said + rest
    return said

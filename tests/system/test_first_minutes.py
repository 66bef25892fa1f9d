"""The machines on which the shop is tried: a disk that is full, or becomes full, and a second checkout."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen
from uuid import uuid4

import psutil
import psycopg2
import pytest
from django.conf import settings

from disk import full
from tests.support.gateway import free_port
from tests.support.processes import ROOT, eventually
from tests.system.test_embedded import KEPT, PATIENCE, processes, serving, start, var  # noqa: F401

pytestmark = pytest.mark.documented

FULL = "The disk is full, or a limit is reached ("
ADVICE = "Make room and start again."
SECRETS = "*-[kp]*"  # secret-key, seed-password, flower-password


@pytest.fixture
def empty() -> Iterator[Path]:
    """A directory that others may enter: root runs PostgreSQL as somebody else."""
    with tempfile.TemporaryDirectory(prefix="shop-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


def run(program: str, *arguments: str, environment: dict[str, str], largest_file: int | None = None) -> tuple[int, str]:
    """The exit code of a program and what it says. A limit on the size of files stands for a full disk."""

    def fill() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    done = subprocess.run(
        [sys.executable, program, *arguments], cwd=ROOT, env=environment, preexec_fn=fill,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE,
    )  # fmt: skip
    return done.returncode, done.stdout


def embedded(directory: Path) -> dict[str, str]:
    ports = {"PORT": str(free_port()), "FLOWER_PORT": str(free_port())}
    return {name: os.environ[name] for name in KEPT if name in os.environ} | ports | {"SHOP_VAR": str(directory)}


@pytest.mark.parametrize(
    ("program", "largest_file"),
    [("manage.py", 0), ("manage.py", 1_000_000), ("scripts/run.py", 0)],
    ids=["no secret can be kept", "no PostgreSQL can be made", "make run can keep no password"],
)
def test_a_full_disk_is_a_sentence_and_leaves_no_half_secret(empty: Path, program: str, largest_file: int):
    environment = embedded(empty / "var")
    arguments = ["up"] if program == "manage.py" else []
    code, said = run(program, *arguments, environment=environment, largest_file=largest_file)
    assert code == 1
    assert (FULL in said, ADVICE in said, "Traceback" in said) == (True, True, False), said
    assert [path for path in (empty / "var").glob(SECRETS) if not path.stat().st_size] == []
    assert processes(empty) == []
    code, said = run("manage.py", "check", environment=environment)  # with room again
    assert (code, "no issues" in said) == (0, True), said


def test_a_disk_that_fills_up_is_told_once_and_the_shop_goes_on(var: Path):  # noqa: F811
    port, log = free_port(), var / "shop.log"
    up = start("up", var=var, port=port)
    try:
        serving(up)
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        psutil.Process(up.pid).rlimit(psutil.RLIMIT_FSIZE, (log.stat().st_size, hard))
        for _ in range(5):
            with pytest.raises(HTTPError, match="401"):  # which is logged
                urlopen(f"http://127.0.0.1:{port}/api/v1/orders")
        before = log.stat().st_size
        psutil.Process(up.pid).rlimit(psutil.RLIMIT_FSIZE, (hard, hard))

        def logged() -> bool:
            with pytest.raises(HTTPError, match="401"):
                urlopen(f"http://127.0.0.1:{port}/api/v1/orders")
            return log.stat().st_size > before

        eventually(logged)
    finally:
        up.send_signal(signal.SIGINT)
        said, _ = up.communicate(timeout=PATIENCE)
    assert up.returncode == 0, said
    assert said.count(f"{log} cannot be written: File too large.") == 1, said
    assert "Logging error" not in said


def test_two_checkouts_serve_beside_each_other(var: Path, empty: Path):  # noqa: F811
    port = free_port()
    first = start("up", var=var, port=port)
    others = []
    try:
        serving(first)
        refused = start("up", var=empty, port=port)
        others.append(refused)
        said, _ = refused.communicate(timeout=PATIENCE)
        assert (refused.returncode, f"Port {port} cannot be used" in said, "PORT=" in said) == (1, True, True), said
        second = start("up", var=empty, port=free_port())
        others.append(second)
        serving(second)
    finally:
        for process in (*others, first):
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE)
    assert processes(empty) == []


# --- On servers ----------------------------------------------------------------------------------------------------
@pytest.fixture
def on_servers(tmp_path: Path) -> dict[str, str]:
    """The environment of `make run`, with databases of the run's own, which are dropped with it."""
    own = {"SHOP_VAR": str(tmp_path / "var"), "PORT": str(free_port()), "FLOWER_PORT": str(free_port())}
    own["DATABASE_PREFIX"] = f"{settings.PREFIX}{uuid4().hex[:6]}_"
    return {name: value for name, value in os.environ.items() if name not in ("SECRET_KEY", "DEBUG")} | own


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Path]:
    """A second checkout, as far as `make run` reads it before it starts anything."""
    checkout = tmp_path / "other"
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    for name in ("disk.py", "Procfile"):
        shutil.copy(ROOT / name, checkout)
    return checkout


def test_a_second_checkout_does_not_run_on_the_databases_of_the_first(on_servers: dict[str, str], other: Path):
    run_of_other = str(other / "scripts/run.py")
    for program in ("scripts/services.py", str(other / "scripts/services.py")):
        code, said = run(program, "up", environment=on_servers)
        assert (code == 0) == (program == "scripts/services.py"), said
    code, said = run(run_of_other, "relay", environment=on_servers)
    name = f"{on_servers['DATABASE_PREFIX']}accounts"
    assert (code, f"the database {name} is used by the checkout in {ROOT};" in said) == (1, True), said
    assert "export DATABASE_PREFIX=another_ to have databases of your own" in said
    assert "Traceback" not in said


def test_the_databases_of_a_checkout_that_is_gone_can_be_used(on_servers: dict[str, str], other: Path):
    for program in (str(other / "scripts/services.py"), "scripts/services.py"):
        code, said = run(program, "up", environment=on_servers)
        assert code == 0, said
        shutil.rmtree(other, ignore_errors=True)


def test_a_server_whose_disk_is_full_is_a_sentence(on_servers: dict[str, str]):
    code, said = run("scripts/services.py", "up", environment=on_servers)
    assert code == 0, said
    url = f"{os.environ['DATABASE_URL'].rstrip('/')}/{on_servers['DATABASE_PREFIX']}accounts"
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            """CREATE TABLE django_migrations (
                   id bigserial PRIMARY KEY, app varchar(255), name varchar(255), applied timestamptz);
               CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   RAISE EXCEPTION 'could not extend file "base/1/2": No space left on device' USING ERRCODE = '53100';
               END $$;
               CREATE TRIGGER refuse BEFORE INSERT ON django_migrations FOR EACH ROW EXECUTE FUNCTION refuse()"""
        )
    connection.close()
    code, said = run("scripts/run.py", "relay", environment=on_servers)
    assert code == 1
    assert (said.count(FULL), ADVICE in said, "Traceback" in said) == (1, True, False), said
    assert 'could not extend file "base/1/2"' in said


@pytest.mark.parametrize(
    ("text", "expected"), [("a\nERROR: [Errno 28] No space left on device\nb", True), ("Connection refused", False)]
)
def test_what_says_that_a_disk_is_full(text: str, expected: bool):
    assert bool(full(text)) is expected
    wrapped = ValueError("something else")
    wrapped.__cause__ = OSError(text)
    assert bool(full(wrapped)) is expected

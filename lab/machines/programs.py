"""Programs that a machine runs besides the shop's own: installed ones, or unpacked from Debian's packages.

What is not installed is downloaded once and unpacked into var/machines, without installing it: so no system service is
started.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from django.conf import settings

from lab.rig.servers import CannotStart

HOME = settings.BASE_DIR / "var" / "machines"
FETCHED = (
    "etcd-server", "haproxy", "liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1", "pgbackrest",
)  # fmt: skip
INSTALLED = {
    "ip": "iproute2",
    "tc": "iproute2",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "redis-server": "redis-server",
    "epmd": "rabbitmq-server",
}
POSTGRES = Path("/usr/lib/postgresql")
LIBRARIES = HOME / "usr/lib/x86_64-linux-gnu"
ACCOUNT = "postgres"  # PostgreSQL does not run as root


@dataclass(frozen=True)
class Programs:
    """The locations of the programs."""

    etcd: Path
    haproxy: Path
    clock: Path | None  # a library that fakes the time for programs; None if there is no compiler to build it
    pgbackrest: Path
    postgres: Path  # the directory of PostgreSQL's programs
    python: str  # one that may be run by `ACCOUNT`


def programs() -> Programs:
    """Locate the programs, and download missing ones. Raises CannotStart, which says what is missing."""
    if os.geteuid() or not shutil.which("dpkg"):
        raise CannotStart("Machines are made of namespaces and Debian's packages: this needs root, on Debian.")
    for program, package in INSTALLED.items():
        if not shutil.which(program):
            raise CannotStart(f"{program} is not installed: run `make services`, or apt-get install {package}.")
    versions = sorted(POSTGRES.glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    if not versions:
        raise CannotStart("PostgreSQL is not installed: run `make services`, or apt-get install postgresql.")
    if find_spec("patroni") is None:
        raise CannotStart("Patroni is not installed: run `make .venv/.dev`.")
    if not (HOME / "usr/bin/pgbackrest").exists():
        _fetch()
    return Programs(
        etcd=HOME / "usr/bin/etcd",
        haproxy=HOME / "usr/sbin/haproxy",
        clock=_clock(),
        pgbackrest=HOME / "usr/bin/pgbackrest",
        postgres=versions[-1].parent,
        python=_python(),
    )


def _fetch() -> None:
    packages = HOME / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    for command in (["apt-get", "update", "-qq"], ["apt-get", "download", "-qq", *FETCHED]):
        done = subprocess.run(command, cwd=packages, capture_output=True, text=True)
        if done.returncode:
            raise CannotStart(f"{' '.join(command)}: {done.stderr.strip()}")
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, HOME], check=True)
    shutil.rmtree(packages)


def _clock() -> Path | None:
    source, library = Path(__file__).with_name("clock.c"), HOME / "clock.so"
    if shutil.which("cc") and not (library.exists() and library.stat().st_mtime > source.stat().st_mtime):
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
    return library if library.exists() else None


def _python() -> str:
    """Return a Python of the same version that other accounts may run, too."""
    version = "python{}.{}".format(*sys.version_info)
    for candidate in (shutil.which("python3"), f"/usr/local/bin/{version}", f"/usr/bin/{version}"):
        if candidate and _runs(os.path.realpath(candidate)):
            return os.path.realpath(candidate)
    raise CannotStart(f"There is no {version} that {ACCOUNT} may run: apt-get install {version}.")


def _runs(python: str) -> bool:
    # Through env, because setpriv itself is still root when it looks the program up.
    command = ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups", "env", python, "-c", ""]
    return subprocess.run(command, capture_output=True, cwd="/").returncode == 0

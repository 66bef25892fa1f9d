"""A private Docker engine, on Debian as root, that needs no image registry.

Its programs come from Debian's packages, unpacked below var/engine and not installed. It runs in its own network
namespace, so it touches no firewall rule and no address of the machine. The base images of Dockerfile and
docker-compose.yml are built from Debian's packages, too, with those parts of the original entry points that the shop
uses. Everything is cached: only the first run takes some minutes.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "var" / "engine"
PROGRAMS = HOME / "programs"
SERVERS, PYTHON = "trixie", "bookworm"  # the newest servers; the Debian that has Python 3.11
OF_THE_ENGINE = ("docker.io", "docker-cli", "docker-compose", "docker-buildx", "containerd", "tini")
# From this machine's own Debian, as they are linked with its libraries.
OF_THE_MACHINE = (
    "debootstrap", "runc", "iptables", "libip4tc2", "libip6tc2", "libxtables12", "libnftnl11", "libnfnetlink0",
    "libnetfilter-conntrack3",
)  # fmt: skip
PACKAGES = {
    SERVERS: ("postgresql-17", "rabbitmq-server", "redis-server", "nginx-light", "wget"),
    PYTHON: ("python3.11", "python3.11-venv", "python3-pip"),
}
CLONE_NEWNET = 0x40000000
READY_WITHIN = 60  # seconds

# --- The images, by the first word of their name: only what the shop relies on in the originals. ----------------------
AS_USER = 'exec setpriv --reuid={0} --regid={0} --init-groups "$@"'
ENTRY_POINTS = {
    "postgres": r"""
        export PGDATA=/var/lib/postgresql/data PGUSER=postgres
        if [ "$(id -u)" = 0 ]; then
            chown postgres "$PGDATA"; chmod 700 "$PGDATA"
            exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
        fi
        if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
            printf %s "$POSTGRES_PASSWORD" >/tmp/password
            initdb --username=postgres --pwfile=/tmp/password --auth-local=trust --auth-host=scram-sha-256 >/dev/null
            rm /tmp/password
            echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
            echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
            pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start >/dev/null
            for script in /docker-entrypoint-initdb.d/*.sh; do [ ! -f "$script" ] || "$script"; done
            pg_ctl -D "$PGDATA" -m fast -w stop >/dev/null
        fi
        exec "$@"
    """,
    "rabbitmq": r"""
        if [ "$(id -u)" = 0 ] && [ "$1" = rabbitmq-server ]; then
            chown rabbitmq /var/lib/rabbitmq
            exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups "$0" /usr/lib/rabbitmq/bin/rabbitmq-server
        fi
        exec "$@"
    """,
    "redis": r"""
        if [ "$(id -u)" = 0 ]; then chown redis /data; exec setpriv --reuid=redis --regid=redis --init-groups "$@"; fi
        exec "$@"
    """,
    "nginx": 'exec "$@"',
    "mailpit": "exec python -W ignore -u -m smtpd -n -c DebuggingServer 0.0.0.0:1025",
}
COMMANDS = {"postgres": "postgres", "rabbitmq": "rabbitmq-server", "redis": "redis-server", "nginx": "nginx"}
EXTRAS = {
    "postgres": "ENV PATH=/usr/lib/postgresql/17/bin:/usr/local/bin:/usr/bin:/bin",
    "rabbitmq": "ENV HOME=/var/lib/rabbitmq\n"
    "RUN echo '[rabbitmq_management,rabbitmq_prometheus].' >/etc/rabbitmq/enabled_plugins",
    "redis": "WORKDIR /data",
}


class CannotRun(Exception):
    """The engine cannot run here; the message says why."""


def say(text: str) -> None:
    print(text, flush=True)


def run(*command: str | Path, **options: object) -> str:
    """Run a command; return its output. Raises CannotRun with the output if it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)  # type: ignore[call-overload]
    if done.returncode:
        raise CannotRun(f"{' '.join(map(str, command))[:200]}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


# --- Programs and root file systems -----------------------------------------------------------------------------------
def prepare(lock: Path) -> None:
    """Download and unpack what is missing, and the wheels of this lock file. Raises CannotRun."""
    if os.geteuid() or not shutil.which("dpkg"):
        raise CannotRun("A Docker engine of one's own needs Debian, and root.")
    (HOME / "packages").mkdir(parents=True, exist_ok=True)
    if not (PROGRAMS / "usr/sbin/debootstrap").exists():
        say(f"Fetching {', '.join(OF_THE_MACHINE)} of this Debian")
        run("apt-get", "update", "-qq")
        run("apt-get", "download", "-qq", *OF_THE_MACHINE, cwd=HOME / "packages")
        unpack(HOME / "packages")
    for release, packages in PACKAGES.items():
        if not (HOME / release).exists():
            say(f"Installing Debian {release} with {', '.join(packages)} below {HOME.relative_to(ROOT)}")
            install(release, packages)
    if not (PROGRAMS / "usr/sbin/dockerd").exists():
        say(f"Fetching {', '.join(OF_THE_ENGINE)} of Debian {SERVERS}")
        folder = HOME / SERVERS / "packages"
        folder.mkdir(exist_ok=True)
        run("chroot", HOME / SERVERS, "sh", "-c", f"cd /packages && apt-get download -qq {' '.join(OF_THE_ENGINE)}")
        unpack(folder)
        shutil.rmtree(folder)
    say(f"Fetching the wheels of {lock.name}")
    python = shutil.which("python3.11")
    if not python:
        raise CannotRun("The image's wheels are fetched with Python 3.11, which is not here.")
    whatever = HOME / "lock.txt"  # patch release of Python 3.11 the image has
    whatever.write_text(re.sub(r" ; python_full_version [^\\\n]*", " ", lock.read_text()))
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes")
    run(python, "-m", "pip", "download", *options, "--dest", HOME / "wheels", "-r", whatever)


def unpack(folder: Path) -> None:
    for package in sorted(folder.glob("*.deb")):
        run("dpkg", "-x", package, PROGRAMS)


def install(release: str, packages: tuple[str, ...]) -> None:
    """Create a Debian root file system with these packages, without starting their services."""
    unfinished = HOME / f"{release}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    (HOME / "cache").mkdir(exist_ok=True)
    own = os.environ | {"DEBOOTSTRAP_DIR": str(PROGRAMS / "usr/share/debootstrap"), "DEBIAN_FRONTEND": "noninteractive"}
    options = ("--variant=minbase", f"--cache-dir={HOME / 'cache'}", "--include=ca-certificates")
    run(PROGRAMS / "usr/sbin/debootstrap", *options, release, unfinished, env=own)
    policy = unfinished / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    run("chroot", unfinished, "apt-get", "update", "-qq", env=own)
    run("chroot", unfinished, "apt-get", "install", "-qq", "-y", "--no-install-recommends", *packages, env=own)
    unfinished.rename(HOME / release)


# --- The engine -------------------------------------------------------------------------------------------------------
class Engine:
    """A context manager: within it, `docker` and `docker compose` with `environment` talk to the private engine.

    Entering it moves this process into the engine's network namespace, where the published ports are.
    """

    def __init__(self) -> None:
        self.folder = HOME / "run"
        self.environment = os.environ | {
            "PATH": f"{PROGRAMS / 'usr/sbin'}:{PROGRAMS / 'usr/bin'}:{HOME / 'bin'}:{':'.join(os.get_exec_path())}",
            "LD_LIBRARY_PATH": str(PROGRAMS / "usr/lib/x86_64-linux-gnu"),
            "XTABLES_LIBDIR": str(PROGRAMS / "usr/lib/x86_64-linux-gnu/xtables"),
            "DOCKER_HOST": f"unix://{self.folder}/docker.sock",
            "DOCKER_CONFIG": str(HOME / "config"),
        }
        self._daemon: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Engine:
        leave_the_network()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        plugins = HOME / "config" / "cli-plugins"
        plugins.mkdir(parents=True, exist_ok=True)
        for plugin in (PROGRAMS / "usr/libexec/docker/cli-plugins").iterdir():
            (plugins / plugin.name).unlink(missing_ok=True)
            (plugins / plugin.name).symlink_to(plugin)
        (HOME / "bin").mkdir(exist_ok=True)
        for name in ("iptables", "ip6tables"):
            (HOME / "bin" / name).unlink(missing_ok=True)
            (HOME / "bin" / name).symlink_to(PROGRAMS / "usr/sbin/xtables-nft-multi")
        command = [
            PROGRAMS / "usr/sbin/dockerd", "-H", self.environment["DOCKER_HOST"], "--data-root", HOME / "data",
            "--exec-root", self.folder / "exec", "--pidfile", self.folder / "pid",
            "--userland-proxy-path", PROGRAMS / "usr/sbin/docker-proxy",
        ]  # fmt: skip
        with (self.folder / "log").open("wb") as log:
            self._daemon = subprocess.Popen(
                list(map(str, command)), env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + READY_WITHIN
        while subprocess.run(["docker", "info"], env=self.environment, capture_output=True).returncode:
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                last = (self.folder / "log").read_text()[-2000:]
                self.__exit__()
                raise CannotRun(f"The engine does not start:\n{last}")
            time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        if self._daemon and self._daemon.poll() is None:
            self._daemon.send_signal(signal.SIGTERM)
            self._daemon.wait(60)

    def docker(self, *arguments: str | Path, **options: object) -> str:
        return run("docker", *arguments, env=self.environment, **options)

    # --- Images -------------------------------------------------------------------------------------------------------
    def stand_in(self, references: set[str], lock: Path) -> dict[str, str]:
        """Build each of these images from Debian's packages; return their versions."""
        for release in PACKAGES:
            if not self.docker("images", "-q", f"debian-{release}"):
                tar = f"tar -C {HOME / release} --exclude=./packages --exclude=./var/cache/apt -c ."
                run("sh", "-c", f"{tar} | docker import - debian-{release}", env=self.environment)
        return {reference: self._make(reference, lock) for reference in sorted(references)}

    def _make(self, reference: str, lock: Path) -> str:
        name = re.split("[:@]", reference.rpartition("/")[2])[0]
        context = HOME / "context"
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir()
        if name in ("python", "mailpit"):
            lines = [f"FROM debian-{PYTHON}", "RUN ln -s python3.11 /usr/bin/python || true"]
        elif name in ENTRY_POINTS:
            lines = [f"FROM debian-{SERVERS}"]
        else:
            raise CannotRun(f"There is no stand-in for the image {reference}.")
        if name == "python":
            wanted = {one.partition("==")[0].replace("_", "-") for one in lock.read_text().splitlines() if "==" in one}
            (context / "wheels").mkdir()
            for wheel in (HOME / "wheels").iterdir():
                if wheel.name.split("-")[0].lower().replace("_", "-").replace(".", "-") in wanted:
                    os.link(wheel, context / "wheels" / wheel.name)
            lines += [
                "COPY wheels /wheels",
                r"RUN printf '[global]\nno-index = true\nfind-links = /wheels\n' >/etc/pip.conf",
            ]
        else:
            script = "#!/bin/sh\nset -e\n" + re.sub("^ {8}", "", ENTRY_POINTS[name], flags=re.MULTILINE)
            (context / "entry").write_text(script)
            (context / "entry").chmod(0o755)
            lines += ["COPY entry /usr/local/bin/entry", 'ENTRYPOINT ["/usr/local/bin/entry"]', EXTRAS.get(name, "")]
            if name in COMMANDS:
                lines.append(f'CMD ["{COMMANDS[name]}"]')
        (context / "Dockerfile").write_text("\n".join(lines) + "\n")
        self.docker("build", "--quiet", "--tag", reference, context)
        return version(name)


def version(name: str) -> str:
    """Return the version of a server or of Python in its image."""
    package = {"postgres": "postgresql-17", "rabbitmq": "rabbitmq-server", "redis": "redis-server", "nginx": "nginx"}
    release = SERVERS if name in package else PYTHON
    status = (HOME / release / "var/lib/dpkg/status").read_text()
    found = re.search(
        rf"^Package: {package.get(name, 'python3.11')}$.*?^Version: (\S+)$", status, re.MULTILINE | re.DOTALL
    )
    return found[1] if found else "?"


def leave_the_network() -> None:
    """Move this process into a new network namespace that has only a loopback device. Raises CannotRun."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise CannotRun(f"No network namespace can be made here: {os.strerror(ctypes.get_errno())}.")
    with socket.socket() as device:
        fcntl.ioctl(device, 0x8914, struct.pack("16sh", b"lo", 0x41))  # SIOCSIFFLAGS: up and running

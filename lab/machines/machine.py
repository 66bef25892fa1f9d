"""The network between the machines, and a machine."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

from lab.rig.processes import Process
from lab.rig.servers import launch, until

# RFC 2544 reserves these addresses for network tests. They exist only in the command's own network namespace.
SUBNET, CLIENT = "198.18.0", "198.18.0.254"
DISK = "size=900m,mode=755"
NOBODY = "02:00:00:00:00:ff"  # an address that belongs to no machine
PR_SET_PDEATHSIG = 1
# The machine's init process: all others end with it. It also reaps orphans.
INIT = "echo {name} >/proc/sys/kernel/hostname; ip link set lo up; while :; do sleep 1000; done"


def run(*command: str | Path) -> str:
    """Run a command; return its output. Raises CalledProcessError."""
    done = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


class Network:
    """A switch, with this process at one port. It must be created in a network namespace of its own."""

    def __init__(self, hosts: Path, names: Sequence[str]) -> None:
        addresses = {name: f"{SUBNET}.{number}" for number, name in enumerate(names, 1)}
        hosts.write_text("".join(f"{a} {n}\n" for n, a in {"localhost": "127.0.0.1", **addresses}.items()))
        run("mount", "--bind", hosts, "/etc/hosts")  # in this process's mount namespace
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "switch", "type", "bridge")
        run("ip", "address", "add", f"{CLIENT}/24", "dev", "switch")
        run("ip", "link", "set", "switch", "up")


class Machine:
    """A machine. Its `disk` survives switching off."""

    def __init__(self, number: int, home: Path) -> None:
        self.name, self.address = f"m{number}", f"{SUBNET}.{number}"
        self.disk = home / self.name
        self.logs = home / "logs" / self.name
        self.services: list[Process] = []
        self._init: subprocess.Popen[bytes] | None = None
        self.pid = 0  # of its first process, as seen from here
        for folder in (self.disk, self.logs):
            folder.mkdir(parents=True)
        run("mount", "-t", "tmpfs", "-o", DISK, self.name, self.disk)

    @property
    def is_on(self) -> bool:
        return self._init is not None

    def switch_on(self) -> None:
        """Boot: the network first, then what is installed."""
        namespaces = ["--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = ["unshare", *namespaces, "--", "bash", "-c", INIT.format(name=self.name)]
        init = launch(command, self.logs / "init.log", dict(os.environ), preexec_fn=_end_with_parent)
        until(lambda: self._first_process(init.pid), f"the start of {self.name}", pause=0.02)
        run("ip", "link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        run("ip", "link", "set", self._port, "master", "switch", "up")
        self.inside("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.inside("ip", "link", "set", "eth0", "up")
        self._init = init
        for service in self.services:
            service.start()

    def _first_process(self, unshare: int) -> bool:
        children = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
        self.pid = int(children[0]) if children else 0
        return bool(self.pid) and Path(f"/proc/{self.pid}/comm").read_text().strip() == "bash"

    def switch_off(self) -> None:
        """Cut the power: no peer is told that its connection has ended."""
        init, self._init = self._init, None
        if init is not None:
            subprocess.run(["ip", "link", "delete", self._port], capture_output=True)
            os.kill(self.pid, signal.SIGKILL)  # the kernel then kills all others in its namespace,
            for service in self.services:
                service.end()
            init.wait()  # once those that entered it from outside are reaped

    def scrap(self) -> None:
        """Remove the disk with everything on it."""
        run("umount", "--lazy", self.disk)

    def look(self) -> None:
        """Restart the services that have ended."""
        for service in self.services:
            if self.is_on:
                service.look()

    def install(
        self, name: str, command: Sequence[str | Path], environment: dict[str, str], *, account: str = ""
    ) -> Process:
        """Run a service from now on, whenever the machine is on."""
        process = _Service(self, name, [str(part) for part in command], environment, account)
        self.services.append(process)
        if self.is_on:
            process.start()
        return process

    def inside(self, *command: str) -> str:
        """Run a command on the machine; return its output."""
        return run(*self.entering(), *command)

    def entering(self) -> list[str]:
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", "--uts", "--pid", "--"]

    def processes(self) -> list[int]:
        """Return the ids of the machine's processes, except init."""
        mine = os.readlink(f"/proc/{self.pid}/ns/pid")
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != self.pid:
                try:
                    if os.readlink(entry / "ns/pid") == mine:
                        found.append(int(entry.name))
                except OSError:  # it has ended
                    continue
        return found

    # --- The cable ----------------------------------------------------------------------------------------------------
    @property
    def _port(self) -> str:
        return f"port-{self.name}"

    def unplug(self) -> None:
        run("ip", "link", "set", self._port, "down")

    def plug_in(self) -> None:
        run("ip", "link", "set", self._port, "up")

    def send_nowhere(self, addresses: Sequence[str]) -> None:
        """Silently lose what the machine sends to these addresses; what they send arrives."""
        for address in addresses:
            self.inside("ip", "neighbour", "replace", address, "lladdr", NOBODY, "dev", "eth0", "nud", "permanent")

    def send_again(self, addresses: Sequence[str]) -> None:
        for address in addresses:
            self.inside("ip", "neighbour", "delete", address, "dev", "eth0")


class _Service(Process):
    """A process on a machine."""

    def __init__(
        self, machine: Machine, name: str, command: list[str], environment: dict[str, str], account: str
    ) -> None:
        super().__init__(f"{name} of {machine.name}", name, command, environment, machine.logs / f"{name}.log")
        self._machine, self._inner = machine, command
        self._as = ["setpriv", f"--reuid={account}", f"--regid={account}", "--init-groups"] if account else []

    def start(self) -> None:
        here = ["env", f"--chdir={settings.BASE_DIR}"]
        self._command = [*self._machine.entering(), *here, *self._as, *self._inner]
        super().start()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

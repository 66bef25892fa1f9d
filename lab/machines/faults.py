"""Faults of a machine. Each one lasts until it is undone, and comes with a proof that it happened."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread

import psutil  # type: ignore[import-untyped]

from lab.chaos.faults import NotFired
from lab.machines.cluster import Cluster
from lab.machines.machine import CLIENT, Machine, run
from lab.machines.software import clock_of
from lab.rig.servers import until

SLOWED_TO, TURN = 0.15, 0.4  # the share of the time that a slow machine runs, in periods of so many seconds
DELAY = "150ms"
AHEAD = 60  # seconds


@dataclass
class Fault:
    """A fault that lasts until `undo` ends it."""

    proof: str
    undo: Callable[[], None]


Make = Callable[[Cluster, Machine], Fault]


def kill(cluster: Cluster, machine: Machine) -> Fault:
    processes = len(machine.processes())
    cluster.switch_off(machine)
    _must(not _answers(machine), "it still answers")
    return Fault(f"{processes} processes of {machine.name} gone at once", lambda: cluster.switch_on(machine))


def cut_off(_: Cluster, machine: Machine) -> Fault:
    machine.unplug()
    _must(not _answers(machine), "it still answers")
    return Fault(f"nothing comes to {machine.name}, and nothing from it", machine.plug_in)


def cannot_send(cluster: Cluster, machine: Machine) -> Fault:
    others = [CLIENT, *(one.address for one in cluster.machines if one is not machine)]
    machine.send_nowhere(others)
    _must(not _answers(machine), "it still answers")
    return Fault(f"{machine.name} hears the others, and they do not hear it", lambda: machine.send_again(others))


def cannot_hear(cluster: Cluster, machine: Machine) -> Fault:
    others = [one for one in cluster.machines if one is not machine]
    for other in others:
        other.send_nowhere([machine.address])

    def undo() -> None:
        for other in others:
            other.send_again([machine.address])

    return Fault(f"the other machines hear {machine.name}, and it does not hear them", undo)


def slow_network(_: Cluster, machine: Machine) -> Fault:
    machine.inside("tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", DELAY, "50ms", "loss", "1%")
    return Fault(
        f"what {machine.name} sends takes {DELAY} more, and a hundredth of it is lost",
        lambda: _quietly(machine, "tc", "qdisc", "delete", "dev", "eth0", "root"),
    )


def slow(_: Cluster, machine: Machine) -> Fault:
    """Stop and continue all processes of a machine, again and again."""
    ended = Event()

    def throttle() -> None:
        while not ended.is_set():
            stopped = machine.processes()
            _signal(stopped, signal.SIGSTOP)
            ended.wait(TURN * (1 - SLOWED_TO))
            _signal(machine.processes(), signal.SIGCONT)
            ended.wait(TURN * SLOWED_TO)

    thread = Thread(target=throttle, daemon=True)
    thread.start()

    def undo() -> None:
        ended.set()
        thread.join()
        _signal([service.pid for service in machine.services], signal.SIGCONT)  # nsenter stops together with its child

    return Fault(f"{machine.name} runs for {SLOWED_TO:.0%} of the time", undo)


def fill_disk(_: Cluster, machine: Machine) -> Fault:
    ballast = machine.disk / "ballast"
    ended = Event()

    def fill() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
                while not ended.is_set():
                    file.write(bytes(65536))
            ended.wait(0.2)

    thread = Thread(target=fill, daemon=True)
    thread.start()

    def free() -> int:
        found = os.statvfs(machine.disk)
        return found.f_bavail * found.f_frsize

    until(lambda: free() < 100_000, "a full disk", seconds=30, pause=0.1)

    def undo() -> None:
        ended.set()
        thread.join()
        ballast.unlink()

    return Fault(f"{free()} bytes are left on the disk of {machine.name}", undo)


def move_clock(cluster: Cluster, machine: Machine) -> Fault:
    clock, told = clock_of(machine), [f"{name}={value}" for name, value in cluster.software.clock(machine).items()]
    clock.write_text(f"{AHEAD}\n")

    def ahead() -> float:
        return int(machine.inside("env", *told, "date", "+%s")) - time.time()

    until(lambda: ahead() > AHEAD - 5, "another time", seconds=10)
    proof = f"the clock of {machine.name} is {ahead():.0f} s ahead, for all but etcd"

    def undo() -> None:
        clock.write_text("")

    return Fault(proof, undo)


def _must(happened: bool, otherwise: str) -> None:
    if not happened:
        raise NotFired(otherwise)


def _answers(machine: Machine) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((machine.address, 8008), timeout=1):
        return True
    return False


def is_stopped(machine: Machine) -> bool:
    """Whether a process on the machine is stopped by a signal at the moment."""
    return any(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in machine.processes())


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _quietly(machine: Machine, *command: str) -> None:
    with contextlib.suppress(subprocess.CalledProcessError):
        machine.inside(*command)


def has_netem() -> bool:
    """Whether this kernel can delay packets."""
    with contextlib.suppress(subprocess.CalledProcessError):
        run("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
        run("tc", "qdisc", "delete", "dev", "lo", "root")
        return True
    return False


FAULTS: dict[str, Make] = {
    "killed": kill,
    "cut off": cut_off,
    "cannot send": cannot_send,
    "cannot hear": cannot_hear,
    "slow": slow,
    "slow network": slow_network,
    "disk full": fill_disk,
    "clock ahead": move_clock,
}


@dataclass(frozen=True)
class Kind:
    make: Make
    primary: bool  # whether it happens to the machine with the primary database


KINDS = {
    f"{whose} machine {what}": Kind(make, whose == "primary's")
    for what, make in FAULTS.items()
    for whose in ("primary's", "another")
}

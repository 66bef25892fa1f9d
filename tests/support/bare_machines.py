"""Two machines with nothing on them but a web server, and each fault in turn: run in namespaces of its own by
tests/lab/test_machines.py. Prints what could be reached meanwhile, as JSON."""

import json
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from urllib.request import urlopen

import django

django.setup()

from lab.machines import faults  # noqa: E402
from lab.machines.machine import Machine, Network  # noqa: E402
from lab.rig.servers import until  # noqa: E402

SERVER = [sys.executable, "-m", "http.server", "8008"]
ASK = "import urllib.request; urllib.request.urlopen('http://{}:8008', timeout=1)"


def answers(machine: Machine) -> bool:
    with suppress(OSError), urlopen(f"http://{machine.address}:8008", timeout=1):
        return True
    return False


def reaches(machine: Machine, other: Machine) -> bool:
    with suppress(Exception):
        machine.inside(sys.executable, "-c", ASK.format(other.address))
        return True
    return False


home = Path(tempfile.mkdtemp(dir=sys.argv[1]))
Network(home / "hosts", ("m1", "m2"))
one, two = machines = [Machine(number, home) for number in (1, 2)]
cluster = SimpleNamespace(machines=machines, switch_off=Machine.switch_off, switch_on=Machine.switch_on)
for machine in machines:
    machine.install("http", SERVER, {})
    machine.switch_on()
    until(lambda machine=machine: answers(machine), "an answer", seconds=30)
seen = {}
for name in ("killed", "cut off", "cannot send", "cannot hear"):
    fault = faults.FAULTS[name](cluster, one)
    seen[name] = [answers(one), reaches(two, one), answers(two)]
    fault.undo()
    until(lambda: answers(one) and reaches(two, one), "the end of the fault", seconds=30)
slowed = faults.FAULTS["slow"](cluster, one)
until(lambda: faults.is_stopped(one), "a stop", seconds=30, pause=0.01)
slowed.undo()
until(lambda: answers(one), "an answer", seconds=30)
full = faults.FAULTS["disk full"](cluster, one)
with suppress(OSError):
    (one.disk / "more").write_bytes(bytes(1_000_000))
    seen["disk full"] = "has room"
full.undo()
(one.disk / "more").write_bytes(bytes(1_000_000))
print(json.dumps(seen))
for machine in machines:
    machine.switch_off()

#!/usr/bin/env python3
"""Create .venv and install a locked requirements file into it.

The Makefile runs this with the system's Python, so only the standard library is available:

    python3 scripts/venv.py requirements.txt

All output goes to standard error: `eval "$(make -s services)"` must see only what services.py prints.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))

from disk import full  # noqa: E402

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
BASE = getattr(sys, "_base_executable", sys.executable)  # the system's, also when .venv is activated
VERSION = "{}.{}".format(*sys.version_info)
MISSING = f"""
Python {VERSION} is here, but it cannot make a virtual environment that has pip in it.
On Debian and Ubuntu that is a package of its own. Install it and run make again:

    sudo apt-get install python{VERSION}-venv
"""


def say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def must(*command: str | Path) -> None:
    """Run quietly; if that fails, show the output and exit."""
    result = run(*command)
    if result.returncode:
        sys.exit(full(result.stdout) or f"{result.stdout}\nThis failed: {' '.join(map(str, command))}")


def create() -> None:
    """Create .venv in whichever way this Python offers. A usable one is kept."""
    if PYTHON.exists() and run(PYTHON, "-m", "pip", "--version").returncode == 0:
        return
    say(f"Creating .venv with Python {VERSION}.")
    if not find_spec("ensurepip") and not find_spec("pip") and os.geteuid() == 0 and shutil.which("apt-get"):
        install_debian_venv()
    # In a new process, because this one looked for ensurepip before it was installed.
    if run(BASE, "-c", "import ensurepip").returncode == 0:
        must(BASE, "-m", "venv", "--clear", VENV)
    elif find_spec("pip"):
        must(BASE, "-m", "venv", "--clear", "--without-pip", VENV)
        must(BASE, "-m", "pip", "--python", PYTHON, "install", "--quiet", "pip")
    else:
        sys.exit(MISSING)


def install_debian_venv() -> None:
    package = f"python{VERSION}-venv"
    say(f"Installing Debian's {package}, which holds pip for virtual environments.")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    install = ("apt-get", "install", "-y", "--no-install-recommends", package)
    if run(*install).returncode:
        run("apt-get", "update")
        result = run(*install)
        if result.returncode:
            sys.exit(result.stdout + MISSING)


def install(requirements: Path) -> None:
    """pip install with hashes. `--no-deps`: the lock is complete, and resolving it again takes longest."""
    total = len(re.findall(r"^[\w.\[\],-]+==", requirements.read_text(), re.MULTILINE))
    say(f"Installing {total} locked packages of {requirements.name} into .venv (about a minute, once) ...")
    options = ["--disable-pip-version-check", "--no-input", "--require-hashes", "--no-deps"]
    command = [str(PYTHON), "-m", "pip", "install", *options, "-r", str(requirements)]
    started, seen, output = time.monotonic(), 0, []
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert pip.stdout
    for line in pip.stdout:
        output.append(line)
        seen += line.startswith(("Collecting", "Requirement already", "Ignoring"))
        if sys.stderr.isatty():
            step = "unpacking" if line.startswith("Installing collected") else f"{seen} of {total}"
            say(f"\r  {step:<12}", end="")
    if pip.wait():
        say("".join(output))
        advice = full("".join(output)) or "Check the network and run make again."
        sys.exit(f"Installing {requirements.name} failed, see above. {advice}")
    say(f"{chr(13) if sys.stderr.isatty() else ''}  installed in {time.monotonic() - started:.0f} s.")


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - the system's own, whichever it is
        sys.exit(f"Python 3.11 is needed and {sys.executable} is {VERSION}. Run make PYTHON=/path/to/python3.11")
    create()
    install(Path(sys.argv[1]))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nInterrupted; run make again to go on.")

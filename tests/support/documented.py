"""The commands on a page of the documentation, and what it says they print."""

import os
import re
import signal
import subprocess
from collections import Counter
from pathlib import Path
from threading import Timer
from typing import NamedTuple

from tests.support.processes import ROOT

BLOCK = re.compile(
    r"^```sh\n(?P<commands>.*?)^```$(?:\n\n```(?:text)?\n(?P<output>.*?)^```$)?", re.MULTILINE | re.DOTALL
)
LEFT_OUT = "..."
END = "—— end of block ——"
PATIENCE = 180.0  # seconds for a block: one that follows an order for ever must not keep the tests


class Block(NamedTuple):
    """A fenced block of commands, and the block behind it with what they print, if there is one."""

    commands: str
    output: str | None


def blocks(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    return [Block(found["commands"], found["output"]) for found in BLOCK.finditer((ROOT / page).read_text())]


def without_comments(commands: str) -> str:
    """The commands as a shell sees them."""
    return "".join(f"{line}\n" for line in re.sub(r"(^|\s+)#.*", "", commands, flags=re.MULTILINE).splitlines() if line)


def shape(line: str) -> str:
    """A line of output without what differs each time: figures, ids, how wide a table is, and repeats."""
    line = re.sub(r"[0-9a-f]{16,}", "0", line)
    line = re.sub(r"\d[\d,.:T+-]*", "0", line)
    line = re.sub(r"[━─█]+", "─", re.sub(r" ↻ 0", "", line))
    return " ".join(line.split())


def differences(documented: str, printed: str) -> list[str]:
    """What a page shows and was not printed; and, unless the page leaves lines out, what was printed besides.

    Lines are compared by their shape, in whatever order: steps that hear the same event run side by side. `...` within
    a line stands for anything, and as a line for any others.
    """
    left = Counter(shape(line) for line in printed.splitlines() if line.strip())
    missing = []
    open_end = False
    for line in filter(str.strip, documented.splitlines()):
        if line.strip() == LEFT_OUT:
            open_end = True
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in shape(line).split(LEFT_OUT)))
        found = next((one for one in left if pattern.fullmatch(one)), None)
        if found is None:
            missing.append(f"never printed: {line}")
        else:
            left -= Counter([found])
    return missing + ([] if open_end else [f"not on the page: {line}" for line in left.elements()])


class Terminal:
    """A shell that keeps its variables from block to block, like that of somebody who reads along."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._script = directory / "var" / "block.sh"
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            cwd=directory,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        self.run("trap 'echo \"exit code $? of: $BASH_COMMAND\"' ERR")

    def run(self, commands: str) -> str:
        """What the commands print, on either output. One that fails is named at that place."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._script.write_text(commands)
        self._shell.stdin.write(f". {self._script} </dev/null; echo '{END}'\n")
        self._shell.stdin.flush()
        printed = []
        watchdog = Timer(PATIENCE, os.killpg, (self._shell.pid, signal.SIGKILL))
        watchdog.start()
        try:
            for line in self._shell.stdout:
                if line.rstrip().endswith(END):
                    return "".join(printed) + line.rstrip().removesuffix(END)
                printed.append(line)
        finally:
            watchdog.cancel()
        raise AssertionError(f"The shell has ended, by itself or after {PATIENCE:.0f} s:\n{''.join(printed)}")

    def close(self) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.close()
        self._shell.wait()
        assert self._shell.stdout is not None
        self._shell.stdout.close()


def checkout(directory: Path) -> None:
    """A checkout with data of its own: everything of this one is in it by name, but `var/`."""
    for path in ROOT.iterdir():
        if path.name != "var":
            (directory / path.name).symlink_to(path)
    (directory / "var").mkdir()
    os.chmod(directory, 0o755)  # root runs PostgreSQL as somebody else

"""What README.md and docs/tour.md tell to type is typed here, in a checkout with data of its own, and what the tour
says of the answers is compared with them."""

import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.documented import Block, Terminal, blocks, checkout, differences, without_comments
from tests.support.processes import ROOT, Process, eventually
from tests.system.test_embedded import KEPT, PATIENCE

PAGES = ("README.md", "README.ko.md", "docs/tour.md")
SERVER = re.compile(r"(?:\w+=\S+ )*make up")  # runs until Ctrl-C, in a terminal of its own
QUICK = {"HANDOVER_AFTER": "2", "DELIVERED_AFTER": "0.5"}  # seconds; a test does not wait for the carrier

# What is not typed here, and why.
ELSEWHERE = {
    "make demo": "tests/system/test_embedded.py plays it, and looks closer",
    "make test": "it runs these tests",
    "make soak": "it runs other tests",
    "make lint": "its stages are a part of `make test`",
    "make env": "tests/system/test_compose.py runs what it runs, into a folder of its own",
    "docker compose --profile sample up --build --detach": "tests/acceptance starts the same without Docker",
}


class Reader:
    """Somebody who reads a page and types what it says: servers in one terminal, the rest in another."""

    def __init__(self, directory: Path) -> None:
        checkout(directory)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        self.environment = environment | QUICK | {"PORT": self.port, "SHOP_VAR": str(directory / "var")}
        self.directory = directory
        self.terminal = Terminal(directory, self.environment)
        self.server: Process | None = None

    def type(self, block: Block) -> str:
        """What a block prints, with the port that the page means."""
        rest = ""
        printed = ""
        for line in without_comments(block.commands).splitlines(keepends=True):
            if SERVER.fullmatch(line.strip()):
                printed += self._in_terminal(rest) + self.serve(line.strip())
                rest = ""
            elif line.strip() not in ELSEWHERE:
                rest += line
        return (printed + self._in_terminal(rest)).replace(self.port, "8080")

    def _in_terminal(self, commands: str) -> str:
        return self.terminal.run(commands.replace("8080", self.port)) if commands else ""

    def serve(self, command: str) -> str:
        if self.server:
            self.server.ends(PATIENCE)  # it was killed, as the tour wants it
        log = self.directory / "var" / "up.log"
        self.server = Process("up", ["sh", "-c", f"exec env {command}"], self.environment, log, cwd=self.directory)
        self.server.says("Ctrl-C stops it.", PATIENCE)
        return self.server.log

    def leave(self) -> None:
        self.terminal.close()
        if self.server and self.server.runs:
            self.server.tell_to_stop()
            self.server.has_stopped()


@pytest.fixture
def reader() -> Iterator[Reader]:
    with tempfile.TemporaryDirectory(prefix="shop-checkout-") as path:
        reader = Reader(Path(path))
        yield reader
        reader.leave()


def wrong(block: Block, printed: str) -> list[str]:
    """What is not as the page says."""
    failed = re.findall("^exit code .*", printed, re.MULTILINE)
    return failed + (differences(block.output, printed) if block.output is not None else [])


@pytest.mark.documented
@pytest.mark.soak
def test_the_tour(reader: Reader):
    for block in blocks("docs/tour.md"):
        if block.commands.startswith("grep "):  # mails, which are sent a moment after what they tell of
            eventually(lambda block=block: wrong(block, reader.type(block)) == [])
        printed = reader.type(block)
        assert wrong(block, printed) == [], f"{block.commands}\n{printed}"


@pytest.mark.documented
def test_the_readme(reader: Reader, on_servers: dict[str, str]):
    for block in blocks("README.md"):
        if "make -s services" in block.commands:
            with closing(Terminal(reader.directory, on_servers)) as terminal:
                printed = terminal.run(block.commands)
            assert "Seeded 10 products" in printed
        else:
            printed = reader.type(block)
        assert wrong(block, printed) == [], f"{block.commands}\n{printed}"


@pytest.fixture
def on_servers(reader: Reader) -> dict[str, str]:
    """The environment of a development machine with servers. The run drops what has its prefix."""
    own = {"SHOP_VAR": reader.environment["SHOP_VAR"], "DATABASE_PREFIX": f"{os.environ['DATABASE_PREFIX']}readme_"}
    return {name: value for name, value in os.environ.items() if name != "SECRET_KEY"} | own


# --- How they are compared -----------------------------------------------------------------------------------------
def test_what_is_run_elsewhere_is_on_a_page():
    lines = {line for page in PAGES for block in blocks(page) for line in without_comments(block.commands).splitlines()}
    assert set(ELSEWHERE) - lines == set()


def test_both_readmes_tell_to_type_the_same():
    english, korean = (
        [without_comments(block.commands) for block in blocks(page)] for page in ("README.md", "README.ko.md")
    )
    assert len(english) > 5
    assert korean == english


def test_both_readmes_have_the_same_parts():
    def parts(page: str) -> tuple[int, set[str]]:
        text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
        return len(re.findall("^## ", text, re.MULTILINE)), set(re.findall(r"`([^`\n]+)`", text))

    assert parts("README.ko.md") == parts("README.md")


@pytest.mark.parametrize(
    ("documented", "printed", "expected"),
    [
        ("a 1", "a 22", []),
        ("a\nb", "b\na", []),
        ("a\n...", "a\nb", []),
        ("a ... c", "a b c", []),
        ("12:01:02.5 ms │ x", "3 ms   │ x", []),
        ("━━━┓", "━━━━━━┓", []),
        ('"id": 4711', '"id": 4', []),
        ("a", "a\nb", ["not on the page: b"]),
        ("a\na", "a", ["never printed: a"]),
        ("a b\n...", "a c", ["never printed: a b"]),
        ("a ... c\n...", "a b", ["never printed: a ... c"]),
    ],
)
def test_how_a_page_and_an_answer_are_compared(documented: str, printed: str, expected: list[str]):
    assert differences(documented, printed) == expected


def test_a_terminal_keeps_variables_and_names_what_fails(tmp_path: Path):
    (tmp_path / "var").mkdir()
    with closing(Terminal(tmp_path, {"PATH": os.environ["PATH"]})) as terminal:
        assert terminal.run("WORD=kept\n") == ""
        assert terminal.run("false\necho on | grep -c off\necho $WORD\n") == (
            "exit code 1 of: false\n0\nexit code 1 of: grep -c off\nkept\n"
        )


def test_what_a_shell_sees_of_a_block():
    assert without_comments("make up    # serves\n\n# a comment\ncurl '#x'\n") == "make up\ncurl '#x'\n"

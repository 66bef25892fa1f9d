"""docs/howto/write-an-adapter.md, followed word by word in a copy of the checkout, up to its tests."""

import re
from pathlib import Path

import pytest

from tests.docs.test_howto import BLOCK, IMPORT, checkout, run  # noqa: F401 (a fixture)
from tests.support.processes import ROOT

PAGE = ROOT / "docs/howto/write-an-adapter.md"
# What comes before a table, the line that opens it, and its new rows.
TABLE = re.compile(r"(?P<before>.*?)^(?P<opens>\w[^\n]*\{)\n    …\n(?P<rows>.*)^\}\n", re.MULTILINE | re.DOTALL)


def write(path: Path, code: str) -> None:
    """As the page says: a new file, or rows of a table, with what goes before it and imports at the top."""
    if not path.exists():
        path.write_text(code)
        return
    text, imports, rest = path.read_text(), "".join(IMPORT.findall(code)), IMPORT.sub("", code)
    table = TABLE.fullmatch(rest)
    assert table, rest
    assert text.count(f"{table['opens']}\n") == 1, table["opens"]
    text = text.replace(f"{table['opens']}\n", f"{table['before'].lstrip()}{table['opens']}\n{table['rows']}")
    at = first.start() if (first := IMPORT.search(text)) else 0
    path.write_text(text[:at] + imports + text[at:])


@pytest.mark.documented
def test_an_adapter_is_written_as_the_page_says(checkout: Path):  # noqa: F811
    said = PAGE.read_text()
    blocks = [(found["file"], found["code"]) for found in BLOCK.finditer(said)]
    assert {file for file, _ in blocks if not (ROOT / file).exists()} == {
        "payments/gateways/moa.py",
        "lab/providers/moa.py",
    }
    for file, code in blocks:
        write(checkout / file, code)
    files = sorted({file for file, _ in blocks})
    run(checkout, "-m", "ruff", "check", "--fix", *files)
    run(checkout, "-m", "ruff", "format", *files)
    assert "All checks passed" in run(checkout, "-m", "ruff", "check", *files)
    (command,) = re.findall(r'^make test ARGS="(.*)"$', said, re.MULTILINE)
    passed = run(checkout, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *command.split(), databases="a_")
    assert re.search(r"^[1-9]\d passed, ", passed, re.MULTILINE), passed
    assert "exit code 0" in passed, passed

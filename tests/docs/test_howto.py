"""docs/howto/add-a-step.md, followed word by word in a copy of the checkout: what it says to write, and to type."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.processes import ROOT

PAGE = ROOT / "docs/howto/add-a-step.md"
BLOCK = re.compile(r"^```python\n# (?P<file>\S+\.py)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT = (".git", ".venv", "var", "__pycache__", "*_cache", "images")
IMPORT = re.compile(r"^(?:from|import) .*\n", re.MULTILINE)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT, tmp_path / "shop", ignore=shutil.ignore_patterns(*LEFT))
    return tmp_path / "shop"


def run(checkout: Path, *command: str, databases: str = "h_") -> str:
    """What a command prints; `databases` is what the names of its own begin with, besides the run's."""
    own = {"DATABASE_PREFIX": f"{settings.PREFIX}{databases}", "SHOP_VAR": str(checkout / "var")}
    environment = os.environ | {"DEBUG": "1"} | own
    done = subprocess.run(
        [sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True, timeout=120
    )
    return f"{done.stdout}{done.stderr}exit code {done.returncode}"


def write(path: Path, code: str) -> None:
    """As the page says: imports at the top, the rest at the end, or a new file."""
    text = path.read_text() if path.exists() else ""
    imports, rest = IMPORT.findall(code), IMPORT.sub("", code)
    if text:
        first = IMPORT.search(text)
        assert first
        text = text[: first.start()] + "".join(imports) + text[first.start() :] + "\n\n" + rest.strip("\n") + "\n"
    else:
        text = code
    path.write_text(text)


def write_rows(path: Path, code: str) -> None:
    """Rows of the saga: a step more for an event, or a step that is new."""
    text = path.read_text()
    for line in code.splitlines():
        if added := re.fullmatch(r' +(\w+): \(…, ("[\w.]+")\),', line):
            event, step = added.groups()
            text, count = re.subn(rf"^( +{event}: \(.*?),?\),$", rf"\1, {step}),", text, count=1, flags=re.MULTILINE)
            assert count == 1, line
        else:
            at = text.index('        "notifications.notify": ')
            text = f"{text[:at]}{line}\n{text[at:]}"
    path.write_text(text)


@pytest.mark.documented
def test_a_step_is_added_as_the_page_says(checkout: Path):
    said = PAGE.read_text()
    blocks = [(found["file"], found["code"]) for found in BLOCK.finditer(said)]
    for file, code in blocks:
        if file == "shop/saga.py":
            missing = run(checkout, "manage.py", "check")
            assert any(line in said for line in missing.splitlines() if line.startswith("?: (saga.")), missing
            write_rows(checkout / file, code)
        else:
            write(checkout / file, code)
        if file == "payments/models.py":
            made = run(checkout, "manage.py", "makemigrations", "payments", "-n", "receipts")
            assert "Create model Receipt" in made, made
    assert "no issues" in run(checkout, "manage.py", "check")
    assert "exit code 0" in run(checkout, "manage.py", "saga", "--mermaid")
    assert "payments.void_receipt" in (checkout / "docs/saga.md").read_text()
    run(checkout, "-m", "ruff", "check", "--fix", "payments", "shop/saga.py")
    run(checkout, "-m", "ruff", "format", "payments", "shop/saga.py")
    assert "All checks passed" in run(checkout, "-m", "ruff", "check", "payments", "shop/saga.py")
    tests = ("payments/tests/test_receipts.py", "tests/shop/test_statements.py")
    passed = run(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    assert "exit code 0" in passed, passed

"""docs/howto/add-a-step.md, add-a-service.md and add-a-saga.md, followed word by word in copies of the checkout: what
they say to write, and to type."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests.support.processes import ROOT

PAGE, SERVICE = ROOT / "docs/howto/add-a-step.md", ROOT / "docs/howto/add-a-service.md"
SAGA = ROOT / "docs/howto/add-a-saga.md"
BLOCK = re.compile(r"^```python\n# (?P<file>\S+\.py)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
LEFT = (".git", ".venv", "var", "__pycache__", "*_cache", "images")
IMPORT = re.compile(r"^(?:from|import) (?:.*\(\n(?: .*\n)+\)|.*)\n", re.MULTILINE)
JSON = re.compile(r"^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)


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
    """As the page says: imports at the top, an assignment in the place of the one that is there, the rest at the end;
    or a new file."""
    text = path.read_text() if path.exists() else ""
    imports, rest = IMPORT.findall(code), IMPORT.sub("", code)
    name = rest.strip().partition(" = ")[0]
    if text and re.search(rf"^{name} = ", text, re.MULTILINE):
        text, rest = re.sub(rf"^{name} = .*$", rest.strip(), text, flags=re.MULTILINE), ""
    if text:
        first = IMPORT.search(text)
        assert first
        text = text[: first.start()] + "".join(imports) + text[first.start() :]
        text += f"\n\n{rest.strip()}\n" if rest.strip() else ""
    else:
        text = code
    path.parent.mkdir(parents=True, exist_ok=True)
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
            at = text.index(
                '        "notifications.purge": ' if line.endswith(".0,") else '        "notifications.notify": '
            )
            text = f"{text[:at]}{line}\n{text[at:]}"
    path.write_text(text)


def register(checkout: Path) -> None:
    """The service, where lists name those that there are."""
    for file in ("shop/settings.py", "scripts/services.py", "pyproject.toml"):
        path = checkout / file
        text, count = re.subn(r'"payments", "delivery", "notifications"', r'\g<0>, "loyalty"', path.read_text())
        path.write_text(text.replace('"notifications/tests", ', '"notifications/tests", "loyalty/tests", '))
        assert count, file
    makefile = checkout / "Makefile"
    makefile.write_text(re.sub(r"(?m)^(APPS := .*)$", r"\1 loyalty", makefile.read_text(), count=1))


def add_the_service(checkout: Path) -> None:
    for found in BLOCK.finditer(SERVICE.read_text()):
        file, code = found["file"], found["code"]
        if file == "shop/saga.py":
            write_rows(checkout / file, code)
        else:
            write(checkout / file, code)
    for folder in ("loyalty", "loyalty/migrations", "loyalty/tests"):
        (checkout / folder).mkdir(exist_ok=True)
        (checkout / folder / "__init__.py").touch()
    register(checkout)
    made = run(checkout, "manage.py", "makemigrations", "loyalty")
    assert "Create model Stamp" in made, made
    assert "manage.py errors --write" in SERVICE.read_text()
    assert "exit code 0" in run(checkout, "manage.py", "errors", "--write")


@pytest.mark.documented
@pytest.mark.soak
def test_a_step_and_a_service_are_added_as_the_pages_say(checkout: Path):
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
    add_the_service(checkout)
    assert "no issues" in run(checkout, "manage.py", "check")
    assert "exit code 0" in run(checkout, "manage.py", "saga", "--mermaid")
    assert "payments.void_receipt" in (checkout / "docs/saga.md").read_text()
    assert "loyalty.give_stamp" in (checkout / "docs/saga.md").read_text()
    code = ("payments", "loyalty", "shop/saga.py")
    run(checkout, "-m", "ruff", "check", "--fix", *code)
    run(checkout, "-m", "ruff", "format", *code)
    assert "All checks passed" in run(checkout, "-m", "ruff", "check", *code)
    tests = ("payments/tests/test_receipts.py", "loyalty/tests", "tests/shop/test_statements.py")
    passed = run(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests)
    assert "exit code 0" in passed, passed


@pytest.mark.documented
@pytest.mark.soak
def test_a_saga_is_added_as_the_page_says(checkout: Path):
    said = SAGA.read_text()
    newest = max((checkout / "tests/shop/events").glob("*.jsonl"))
    with newest.open("a") as examples:
        examples.writelines(JSON.findall(said))
    for found in BLOCK.finditer(said):
        file, code = found["file"], found["code"]
        if file == "shop/purchase_saga.py":
            missing = run(checkout, "manage.py", "check")
            assert any(line in said for line in missing.splitlines() if line.startswith("?: (saga.")), missing
        write(checkout / file, code)
        if file == "payments/models.py":
            made = run(checkout, "manage.py", "makemigrations", "inventory", "payments", "-n", "purchases")
            assert {"Purchase", "Bill"} <= set(re.findall(r"Create model (\w+)", made)), made
    assert "no issues" in run(checkout, "manage.py", "check")
    shown = run(checkout, "manage.py", "saga")
    assert re.search(r"The saga of a purchase\n.*inventory\.confirm_purchase", shown, re.DOTALL), shown
    assert "exit code 0" in run(checkout, "manage.py", "saga", "--mermaid")
    drawn = (checkout / "docs/saga.md").read_text()
    assert "## Of a purchase" in drawn
    assert "payments_void_bill -.-> PaymentBillVoided" in drawn
    code = ("payments", "inventory", "shop", "tests/system/test_purchase_conformance.py")
    run(checkout, "-m", "ruff", "check", "--fix", *code)
    run(checkout, "-m", "ruff", "format", *code)
    assert "All checks passed" in run(checkout, "-m", "ruff", "check", *code)
    (tests,) = re.findall(r'^make test ARGS="(.*)"$', said, re.MULTILINE)
    passed = run(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests.split())
    assert "exit code 0" in passed, passed

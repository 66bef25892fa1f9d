"""The kernel without the shop: installed into an empty environment, where the example's tests and its README run."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import MISSING, fields
from importlib import metadata
from pathlib import Path

import pytest
from django.conf import settings

from sagas import Hooks, Settings
from tests.support.documented import Terminal, blocks, differences
from tests.support.processes import ROOT

pytestmark = pytest.mark.documented

DEPENDENCIES = ["celery", "django", "kombu", "msgspec", "psycopg2-binary", "stamina"]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SHOP = [name for name in PYPROJECT["tool"]["importlinter"]["root_packages"] if name != "sagas"]
README = "examples/trips/README.md"
README_OF_KERNEL = ROOT / "sagas/README.md"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The example in a folder beside the kernel, and the variables of a shell whose Python has only the kernel."""
    folder = tmp_path_factory.mktemp("alone")
    unbuilt = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", "*.log", "celerybeat-schedule*")
    for name in ("sagas", "examples"):
        shutil.copytree(ROOT / name, folder / name, ignore=unbuilt)
    (folder / "constraints.txt").write_text("".join(f"{d.name}=={d.version}\n" for d in metadata.distributions()))
    uv = [Path(sys.executable).with_name("uv")]
    run([*uv, "venv", "--quiet", "--python", sys.executable, folder / "venv"])
    python = folder / "venv/bin/python"
    run([*uv, "pip", "install", "--quiet", "--python", python, "-c", folder / "constraints.txt", folder / "sagas"])
    server = settings.DATABASES["orders"]
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "DATABASE_URL") if name in os.environ}
    return (
        folder / "examples/trips",
        kept
        | {
            "PATH": f"{folder}/venv/bin:{os.environ['PATH']}",
            "DATABASE_PREFIX": f"{server['NAME'].removeprefix('test_').removesuffix('orders')}trips_",
            "BROKER_URL": settings.BROKER_URL,
        },
    )


def run(command: list[str | Path], **where: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **where)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_it_needs_six_packages_and_nothing_of_the_shop(environment: tuple[Path, dict[str, str]]):
    folder, variables = environment
    code = (
        "import importlib.metadata as m, importlib.util as u, sagas, json;"
        "print(json.dumps([m.requires('sagas'), m.version('sagas') == sagas.__version__, sagas.__file__,"
        f" [n for n in {[*SHOP, 'rest_framework', 'redis', 'pytest', 'environ']} if u.find_spec(n)]]))"
    )
    requires, same_version, where, others = json.loads(run(["python", "-c", code], cwd=folder, env=variables))

    assert sorted(re.match(r"[\w-]+", one)[0].lower() for one in requires) == DEPENDENCIES
    assert (same_version, others) == (True, [])
    assert "site-packages" in where


def test_the_examples_tests_pass_there(environment: tuple[Path, dict[str, str]]):
    folder, variables = environment

    said = run(["python", "-W", "error", "manage.py", "test"], cwd=folder, env=variables)

    assert "OK" in said.splitlines()
    run(["python", "manage.py", "makemigrations", "--check", "--dry-run"], cwd=folder, env=variables)
    run(["python", "manage.py", "check", "--fail-level", "WARNING"], cwd=folder, env=variables)


def test_what_the_examples_readme_says_is_true(environment: tuple[Path, dict[str, str]]):
    folder, variables = environment
    (folder / "var").mkdir()
    terminal = Terminal(folder, variables)
    try:
        for block in blocks(README):
            if block.commands.startswith(("pip install", "python manage.py test")):
                block = block._replace(commands=re.sub(r"pip install .*|python manage.py test", "", block.commands))
            printed = terminal.run(block.commands)
            if block.output is not None:
                logs = "".join(path.read_text() for path in folder.glob("*.log"))
                assert differences(block.output, printed) == [], printed + logs
    finally:
        terminal.run("kill $(jobs -p) 2>/dev/null || true; wait\n")
        terminal.close()


def test_nothing_of_the_shop_is_in_the_example():
    for path in [*(ROOT / "examples").rglob("*.py"), *(ROOT / "sagas").rglob("*.py")]:
        assert not re.search(rf"^\s*(from|import) ({'|'.join(SHOP)})\b", path.read_text(), re.MULTILINE), path


MODELS = """
from django.db import models

from sagas import models as messages


class {name}(models.Model):
    {fields}


class Inbox(messages.Inbox):
    pass


class Outbox(messages.Outbox):
    pass


class Unsent(messages.Unsent):
    pass


class DeadLetter(messages.DeadLetter):
    pass
"""
SALE = MODELS.format(name="Sale", fields="status = models.CharField(max_length=16)")
PIECE = MODELS.format(
    name="Piece",
    fields="product = models.CharField(max_length=16)\n    sale_id = models.BigIntegerField(null=True, unique=True)",
)
# The reader's server has the databases that the README names; here they are the run's own.
RUNS_OWN = """
SERVER |= {server!r}
DATABASES = {{"default": {{}}, **{{name: SERVER | {{"NAME": {prefix!r} + name}} for name in ("sales", "stock")}}}}
"""


def test_the_saga_in_the_kernels_readme_works(environment: tuple[Path, dict[str, str]], tmp_path: Path):
    _, variables = environment
    files = dict(re.findall(r"^```python\n# (\S+)\n(.*?)^```$", README_OF_KERNEL.read_text(), re.MULTILINE | re.DOTALL))
    code = [line for name, text in files.items() if not name.endswith("tests.py") for line in text.splitlines() if line]
    assert len(code) < 100
    files |= {"sales/models.py": SALE, "stock/models.py": PIECE}
    server = {name: settings.DATABASES["orders"][name] for name in ("HOST", "PORT", "USER", "PASSWORD")}
    files["settings.py"] += RUNS_OWN.format(server=server, prefix=variables["DATABASE_PREFIX"])
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text)
    (tmp_path / "__init__.py").unlink()
    where = {"cwd": tmp_path, "env": variables | {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": str(tmp_path)}}

    run(["django-admin", "check"], **where)
    run(["django-admin", "makemigrations", "sales", "stock"], **where)
    assert "Ran 3 tests" in run(["django-admin", "test"], **where)


def test_the_kernels_readme_tells_of_every_setting_and_hook():
    page = README_OF_KERNEL.read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", page, re.MULTILINE))
    defaults = {field.name: field.default for field in fields(Settings)}

    assert list(rows) == list(defaults)
    assert rows.pop("retention") == "timedelta(days=30)"
    assert {name: text for name, text in rows.items() if text} == {
        name: repr(default).replace("'", '"')
        for name, default in defaults.items()
        if default is not MISSING and name != "retention"
    }
    for hook in (name for name in vars(Hooks) if not name.startswith("_")):
        assert f"`{hook}`" in page, hook

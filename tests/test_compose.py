"""docker-compose.yml and Dockerfile, as far as they can be held against the code without a Docker engine."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands

from shop.messaging.topology import SERVICES_WITH_QUEUES
from tests.test_docs import in_the_tables

ROOT = settings.BASE_DIR
BIN = Path(sys.executable).parent
COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "shop"}
SERVERS = {"postgres", "rabbitmq", "redis"}
SECRETS = {"SECRET_KEY": "k" * 50, "POSTGRES_PASSWORD": "pg", "RABBITMQ_PASSWORD": "mq", "FLOWER_BASIC_AUTH": "u:p"}
VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([?-])([^}]*))?\}")

# Where a process listens is what Procfile, for a development machine, and the container rightly do not share.
ADDRESS = re.compile(r" --(?:host|address|port)[ =]\S+")


class Missing(Exception):
    """A variable without which docker compose does not start."""


def interpolated(text: str, environment: Mapping[str, str]) -> str:
    """As docker compose does it."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if name is None:
            return "$"
        if environment.get(name):
            return environment[name]
        if kind == "?":
            raise Missing(rest)
        return rest if kind == "-" else ""

    return VARIABLE.sub(value, text)


def environment_of(service: str, given: Mapping[str, str] = SECRETS) -> dict[str, str]:
    """What the processes of a service get, and nothing else."""
    wanted = SERVICES[service]["environment"]
    own = {name: interpolated(str(value), given) for name, value in wanted.items()}
    return own | {name: os.environ[name] for name in ("PATH", "LANG", "HOME") if name in os.environ}


def run(service: str, *command: str) -> subprocess.CompletedProcess[str]:
    program = [str(BIN / command[0]), *command[1:]]
    return subprocess.run(program, cwd=ROOT, env=environment_of(service), capture_output=True, text=True, timeout=120)


# --- Commands ------------------------------------------------------------------------------------------------------
def procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    commands = dict(line.split(": ", 1) for line in lines if line)
    return {name: command.rpartition("&& exec ")[2] for name, command in commands.items()}


def test_procfile_and_compose_run_the_same():
    ours = {name: service["command"] for name, service in OURS.items() if name != "migrate"}

    assert {name: ADDRESS.sub("", command) for name, command in ours.items()} == {
        name: ADDRESS.sub("", command) for name, command in procfile().items()
    }


def test_the_image_serves_as_the_web_service_does():
    (command,) = re.findall(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert json.loads(command) == shlex.split(OURS["web"]["command"])


@pytest.mark.parametrize("command", [*sorted(set(procfile()) - set(SERVICES_WITH_QUEUES)), "inventory"])
def test_what_is_run_exists_and_starts(command: str):
    """As far as `--help`, in the environment that compose gives it."""
    words = shlex.split(SERVICES[command]["command"])
    done = run(command, *words, "--help")

    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_migrating():
    words = shlex.split(OURS["migrate"]["command"])
    commands = re.findall(r"python manage\.py (\w+)", words[2])

    assert words[:2] == ["sh", "-c"]
    assert commands == ["migrate_all", "seed"]
    assert set(commands) <= set(get_commands())


def test_every_queue_has_one_worker():
    queues = [queue for one in OURS.values() for queue in re.findall(r"worker -Q (\S+)", one["command"])]
    assert sorted(queues) == sorted(SERVICES_WITH_QUEUES)
    assert all(f"-n {queue}@%h" in OURS[queue]["command"] for queue in queues)


# --- Environment ---------------------------------------------------------------------------------------------------
def test_every_variable_is_one_that_the_shop_knows():
    for service in OURS.values():
        assert set(service["environment"]) <= set(in_the_tables())


def test_the_example_lists_what_can_be_given_and_gives_no_secret():
    example = dict(re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert set(example) == {match[1] for match in VARIABLE.finditer(COMPOSE) if match[1]}
    assert {name for name in example if name in SECRETS or "SECRET" in name or "PASSWORD" in name} == {
        name for name, value in example.items() if not value and name != "CSRF_TRUSTED_ORIGINS"
    }
    for name, kind, default in VARIABLE.findall(COMPOSE):
        if kind == "-":
            assert example[name] == default


@pytest.mark.parametrize("secret", SECRETS)
def test_nothing_starts_without_its_secrets(secret: str):
    for without in (SECRETS | {secret: ""}, {name: value for name, value in SECRETS.items() if name != secret}):
        with pytest.raises(Missing, match=secret):
            interpolated(COMPOSE, without)


def test_the_settings_that_come_of_it():
    asked = """
import json
from django.conf import settings as s
databases = {name: (one["HOST"], one["NAME"], one["PASSWORD"]) for name, one in s.DATABASES.items()}
print(json.dumps([s.DEBUG, s.EMBEDDED, s.SECRET_KEY, s.BROKER_URL, s.ALLOWED_HOSTS, s.CSRF_TRUSTED_ORIGINS,
    [one["LOCATION"] for one in s.CACHES.values()], s.EMAIL_BACKEND, s.CARRIER_WEBHOOK_SECRET, databases]))
"""
    done = run("web", "python", "-c", f"import shop.wsgi\n{asked}")
    assert done.returncode == 0, done.stderr
    *others, databases = json.loads(done.stdout)

    assert others == [
        False,
        False,
        "k" * 50,
        "amqp://shop:mq@rabbitmq:5672//",
        ["localhost", "127.0.0.1"],
        [],
        ["redis://redis:6379/2", "redis://redis:6379/1"],
        "django.core.mail.backends.console.EmailBackend",
        "",
    ]
    assert databases.pop("default") == databases["accounts"]
    assert databases == {name: ["postgres", f"shop_{name}", "pg"] for name in settings.SERVICES}


# --- Start order, limits, doors ------------------------------------------------------------------------------------
def test_each_process_starts_when_what_it_needs_is_there():
    for name in SERVERS:
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
        assert "depends_on" not in SERVICES[name]
    for name, service in OURS.items():
        needs = {other: one["condition"] for other, one in service["depends_on"].items()}
        assert needs == (
            {"postgres": "service_healthy"}
            if name == "migrate"
            else {
                "migrate": "service_completed_successfully",
                "rabbitmq": "service_healthy",
                "redis": "service_healthy",
            }
        )


def test_every_container_is_bounded_and_ours_may_do_little():
    assert set(SERVICES) == SERVERS | set(OURS)
    for service in SERVICES.values():
        assert re.fullmatch(r"\d+m", service["mem_limit"])
    for service in OURS.values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
        assert "no-new-privileges:true" in service["security_opt"]


def test_data_is_in_named_volumes():
    mounted = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert mounted == set(yaml.safe_load(COMPOSE)["volumes"]) == SERVERS


def test_only_web_and_flower_have_a_door_and_it_leads_to_this_machine_only():
    doors = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert doors == {"web": ["127.0.0.1:${PORT:-8080}:8080"], "flower": ["127.0.0.1:${FLOWER_PORT:-5555}:5555"]}
    assert "FLOWER_UNAUTHENTICATED_API" not in COMPOSE


# --- The image -----------------------------------------------------------------------------------------------------
def test_the_image_holds_what_runs_and_nobody_in_it_is_root():
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()
    }
    wanted = {"requirements.txt", "manage.py", "celeryconfig.py", "shop", *settings.SERVICES}
    let_in = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))

    assert copied == let_in == wanted
    assert all((ROOT / name).exists() for name in wanted)
    assert re.findall(r"^USER (.+)$", dockerfile, re.MULTILINE) == ["shop"]
    assert "--require-hashes" in dockerfile
    assert "apt-get" not in dockerfile
    assert dockerfile.count("FROM python:3.11-slim") == 2


def test_the_health_check_asks_what_is_there():
    (check,) = re.findall(r"CMD (\[\"python\", \"-c\".*\])", (ROOT / "Dockerfile").read_text())
    program = json.loads(check)[2]
    compile(program, "HEALTHCHECK", "exec")
    (path,) = re.findall(r"127\.0\.0\.1:8080(/\w+)", program)

    from django.urls import resolve

    assert resolve(path).view_name == "livez"
    assert "127.0.0.1" in environment_of("web", SECRETS | {"ALLOWED_HOSTS": "shop.example.com"})["ALLOWED_HOSTS"]

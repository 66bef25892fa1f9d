"""docker-compose.yml as docker compose reads it."""

import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.support.processes import ROOT

TEXT = (ROOT / "docker-compose.yml").read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "shop"}
WEB = {name: service for name, service in OURS.items() if service["command"].startswith("granian ")}
VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([?-])([^}]*))?\}")


class Missing(Exception):
    """A variable without which docker compose does not start."""


def interpolated(text: str, environment: Mapping[str, str]) -> str:
    """A text with the environment's values in it."""

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


def environment_of(service: str, given: Mapping[str, str]) -> dict[str, str]:
    """What the processes of a service get."""
    wanted = SERVICES[service]["environment"]
    return {name: interpolated(str(value), given) for name, value in wanted.items()}


def dotenv(text: str) -> dict[str, str]:
    """The variables of a .env."""
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))

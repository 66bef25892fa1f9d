#!/usr/bin/env python3
"""`make client`: write a client of the API for Python, as a wheel that has the API's version. It needs no server.

client.py [FOLDER]      the wheel, and its source; by default into var/client
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent  # of the virtual environment
NAME = "shop_client"


def run(*command: str | Path, **environment: str) -> None:
    """Run quietly; if it fails, show what it said and exit."""
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, env=os.environ | environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{done.stdout}\nThis failed: {' '.join(map(str, command))}")


def main(folder: Path) -> None:
    with TemporaryDirectory() as scratch:
        schema, config = Path(scratch) / "schema.json", Path(scratch) / "config.json"
        describe = ("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json", "--file")
        run(sys.executable, "manage.py", *describe, schema, DEBUG="1")
        names = {"project_name_override": NAME.replace("_", "-"), "package_name_override": NAME}
        config.write_text(
            json.dumps(
                names
                | {
                    "package_version_override": json.loads(schema.read_text())["info"]["version"],
                    # The generator reads JSON and octets; the archive of oneself is a ZIP.
                    "content_type_overrides": {"application/zip": "application/octet-stream"},
                }
            )
        )
        shutil.rmtree(folder / "source", ignore_errors=True)
        for old in folder.glob(f"{NAME}-*.whl"):
            old.unlink()
        generate = ("generate", "--meta", "uv", "--fail-on-warning", "--path", schema, "--config", config)
        run(PROGRAMS / "openapi-python-client", *generate, "--output-path", folder / "source")
    run(PROGRAMS / "uv", "build", "--quiet", "--wheel", "--out-dir", folder, folder / "source")
    (wheel,) = folder.glob("*.whl")
    print(f"Wrote {wheel}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if sys.argv[1:] else ROOT / "var" / "client").absolute())

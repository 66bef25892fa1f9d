#!/usr/bin/env python3
"""Build the image, start docker-compose.yml with it, and have one order completed through the gateway.

Needs Docker with Compose. Containers, volumes and secrets are its own and are gone afterwards; the image `shop` stays.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import dotenv

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "shop-image-test"
PATIENCE = 300.0  # seconds until all are up; a first start of RabbitMQ takes one minute of them
ORDERED = 120.0  # seconds until an order is completed


class Failure(Exception):
    """The image does not do what it should."""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def compose(env_file: Path, *arguments: str, check: bool = True) -> None:
    command = ["docker", "compose", "--project-name", PROJECT, "--env-file", str(env_file), "--profile", "sample"]
    if subprocess.run([*command, *arguments], cwd=ROOT).returncode and check:
        raise Failure(f"docker compose {arguments[0]} failed")


@contextmanager
def running(env_file: Path) -> Iterator[None]:
    """Everything in docker-compose.yml, from an image built just now; what it logged is shown if something fails."""
    try:
        compose(env_file, "build")
        compose(env_file, "up", "--detach")
        yield
    except BaseException:
        compose(env_file, "ps", "--all", check=False)
        compose(env_file, "logs", "--tail", "20", check=False)
        raise
    finally:
        compose(env_file, "down", "--volumes", "--remove-orphans", "--timeout", "10", check=False)


def ask(url: str, body: Any = None, token: str = "") -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = Request(url, json.dumps(body).encode() if body else None, headers)
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)


def eventually(question: Any, seconds: float, what: str) -> Any:
    """The first answer that is not None, asked once a second; refused connections and errors count as None."""
    ends = time.monotonic() + seconds
    last: object = "no answer"
    while time.monotonic() < ends:
        try:
            if (answer := question()) is not None:
                return answer
        except (URLError, OSError) as error:  # not up yet; HTTPError is a URLError
            last = error
        time.sleep(1)
    raise Failure(f"{what}: not within {seconds:.0f} s; at last: {last}")


def order(api: str, password: str) -> None:
    """Sign in as a sample customer, order, and wait until the saga has ended well."""
    credentials = {"email": "customer1@example.com", "password": password}
    token = eventually(lambda: ask(f"{api}/auth/token", credentials)["access"], PATIENCE, "signing in")
    wanted = {"productId": 7, "quantity": 2}
    placed = eventually(lambda: ask(f"{api}/orders", wanted, token)["id"], PATIENCE, "placing an order")

    def ended() -> str | None:
        status: str = ask(f"{api}/orders/{placed}", token=token)["status"]
        return status if status in ("COMPLETED", "CANCELLED") else None

    if (status := eventually(ended, ORDERED, "completing the order")) != "COMPLETED":
        raise Failure(f"the order is {status}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="shop-image-test-") as directory:
        env_file = Path(directory) / ".env"
        dotenv.main(env_file)
        ports = {name: free_port() for name in ("PORT", "FLOWER_PORT", "MAIL_PORT")}
        own = {**ports, "SEED_PASSWORD": secrets.token_hex(8)}
        with env_file.open("a") as file:  # what is said last, counts
            file.writelines(f"{name}={value}\n" for name, value in own.items())
        for name in own:
            os.environ.pop(name, None)  # it would count for more than the file
        with running(env_file):
            order(f"http://127.0.0.1:{own['PORT']}/api/v1", str(own["SEED_PASSWORD"]))
            compose(env_file, "exec", "--no-TTY", "shop", "python", "manage.py", "audit")
    print("The image works: an order was completed through the gateway, and everything adds up.")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"image-test: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)

"""nginx with the repository's own configuration, and a name server for it: in compose that is Docker's.

Each replica gets a loopback address of its own and all listen on one port, as containers do.
"""

import re
import shutil
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.processes import ROOT, Process, eventually

CONFIGURATION = ROOT / "deploy/nginx/nginx.conf"
NETWORK = "127.83.0"
ADDRESS = 1  # record types and classes of the DNS
INTERNET = 1
NO_SUCH_NAME = 3


class Names:
    """A name server that knows what it is told, from one request to the next."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as farewell:
            farewell.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, who = self._socket.recvfrom(512)
            if not query:
                return
            self._socket.sendto(self._answer(query), who)

    def _answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while length := query[at]:
            labels.append(query[at + 1 : at + 1 + length].decode())
            at += 1 + length
        question = query[12 : at + 5]
        known = self.addresses.get(".".join(labels), [])
        flags = 0x8180 if known else 0x8180 | NO_SUCH_NAME
        header = query[:2] + struct.pack(">5H", flags, 1, len(known), 0, 0)
        records = [struct.pack(">3HIH", 0xC00C, ADDRESS, INTERNET, 0, 4) + socket.inet_aton(one) for one in known]
        return header + question + b"".join(records)


def free_port() -> int:
    """A port that is free on every loopback address."""
    with socket.socket() as free:
        free.bind(("0.0.0.0", 0))
        return free.getsockname()[1]


@contextmanager
def nginx(
    folder: Path, names: Names, port: int, changes: Mapping[str, str] | None = None, address: str = f"{NETWORK}.1"
) -> Iterator[str]:
    """The gateway, in front of services on `port`; yields its URL. `changes` are other texts in the configuration."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    text = CONFIGURATION.read_text()
    own = f"{address}:{port}"
    replaced = {
        "resolver 127.0.0.11 valid=5s": f"resolver 127.0.0.1:{names.port} valid=1s",
        "http://$service:8080": f"http://$service:{port}",
        "listen 8080": f"listen {own}",
        **(changes or {}),
    }
    for old, new in replaced.items():
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    folder.mkdir(exist_ok=True)
    (folder / "nginx.conf").write_text(text)
    privileges = "user root; " if folder.stat().st_uid == 0 else ""
    options = ["-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", f"{privileges}daemon off;"]
    process = Process("nginx", [program, *options], {}, folder / "nginx.log")
    try:
        eventually(lambda: _answers(f"http://{own}/gateway/livez", process))
        yield f"http://{own}"
    finally:
        process.tell_to_stop()
        process.has_stopped()


def _answers(url: str, process: Process) -> bool:
    assert process.runs, re.sub("^", "nginx: ", process.log, flags=re.MULTILINE)
    try:
        return httpx.get(url).status_code == 204
    except httpx.HTTPError:
        return False

"""Customers: a process that sends requests to a web server, concurrently, and records every response.

    python -m benchmarks.endtoend.clients PORT FILE     FILE has a JSON list of requests, as they go over the wire

It reads commands from standard input, and answers each line with a JSON list of `Answer`s.

    closed CLIENTS SECONDS      each client sends its next request after the response
    steady RATE SECONDS         requests per second, whether or not earlier ones are answered
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

PATIENCE = 60.0  # seconds to wait for an answer
BREATH = 0.2  # seconds that a client waits after a refusal: shorter than Retry-After


class Answer(NamedTuple):
    """One request. Times are in seconds since the epoch; `order` is 0 for a refusal, `status` is 0 for no answer."""

    due: float
    answered: float
    status: int
    order: int


class Customers:
    """The customers and their connections, which stay open until `close`."""

    def __init__(self, port: int, requests: Sequence[str]) -> None:
        self._port = port
        self._requests = cycle([request.encode() for request in requests])
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.answers: list[Answer] = []

    async def closed(self, clients: int, seconds: float) -> None:
        until = time.time() + seconds

        async def client() -> None:
            while (now := time.time()) < until:
                await self.ask(now)
                if self.answers[-1].status >= 400:
                    await asyncio.sleep(BREATH)

        await asyncio.gather(*(client() for _ in range(clients)))

    async def steady(self, rate: float, seconds: float) -> None:
        began = time.time()
        asked = []
        for number in range(max(1, round(rate * seconds))):
            due = began + number / rate
            if (early := due - time.time()) > 0:
                await asyncio.sleep(early)
            asked.append(asyncio.create_task(self.ask(due)))
        await asyncio.gather(*asked)

    async def ask(self, due: float) -> None:
        try:
            status, body = await asyncio.wait_for(self._ask(), PATIENCE)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            status, body = 0, b""
        order = json.loads(body)["id"] if 200 <= status < 300 else 0
        self.answers.append(Answer(due, time.time(), status, order))

    async def close(self) -> None:
        while self._free:
            _, writer = self._free.pop()
            writer.close()
            await writer.wait_closed()

    async def _ask(self) -> tuple[int, bytes]:
        reader, writer = self._free.pop() if self._free else await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(next(self._requests))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            body = await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        self._free.append((reader, writer))
        return int(head.split(b" ", 2)[1]), body


async def answer(customers: Customers, line: str) -> list[Answer]:
    what, number, seconds = line.split()
    customers.answers = []
    if what == "closed":
        await customers.closed(int(number), float(seconds))
    else:
        await customers.steady(float(number), float(seconds))
    await customers.close()  # before the server does, while the orders of a slow system are waited for
    return customers.answers


def main(port: str, file: str) -> None:
    customers = Customers(int(port), json.loads(Path(file).read_text()))
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            print(json.dumps(runner.run(answer(customers, line))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

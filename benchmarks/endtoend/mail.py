"""A mail server that accepts every e-mail and keeps none: python -m benchmarks.endtoend.mail PORT

It stands for a server on another machine, so it should cost this one nothing. aiosmtpd took three times as much: for an
e-mail, as much processor time as the shop.
"""

import asyncio
import sys

END_OF_MESSAGE = b"\r\n.\r\n"


class Sink(asyncio.Protocol):
    """One connection: RFC 5321, as far as a client that makes no mistakes needs it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._unread, self._in_message = transport, b"", False
        self._say("220 ready")

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while True:
            head, end, rest = self._unread.partition(END_OF_MESSAGE if self._in_message else b"\r\n")
            if not end:
                return
            self._unread = rest
            self._answer(head[:4].upper())

    def _answer(self, command: bytes) -> None:
        if self._in_message:
            self._in_message = False
            self._say("250 accepted")
        elif command == b"DATA":
            self._in_message = True
            self._say("354 go on")
        elif command == b"QUIT":
            self._say("221 bye")
            self._transport.close()
        else:
            self._say("250 OK")

    def _say(self, text: str) -> None:
        self._transport.write(f"{text}\r\n".encode())


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))

"""A mail server that accepts every e-mail and stores none.

python -m benchmarks.endtoend.mail PORT
"""

import sys
import threading
from typing import Any

from aiosmtpd.controller import Controller


class Bin:
    async def handle_DATA(self, _server: Any, _session: Any, _envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        return "250 OK"


if __name__ == "__main__":
    Controller(Bin(), hostname="127.0.0.1", port=int(sys.argv[1])).start()
    threading.Event().wait()

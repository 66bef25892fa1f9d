"""Flower's settings; it reads this file where it is started, and every setting from FLOWER_… in the environment.

It shows what the publisher says of a message (`3 × OrderCreated (order 7, …)`), never the events themselves. Without a
password it does not start. It only shows: a task revoked by hand would be a message lost.
"""

import asyncio
import re
from collections.abc import Iterable
from logging import ERROR, getLogger  # the module itself would be taken for tornado's option `logging`
from typing import Any

from flower.views import BaseHandler, monitor
from tornado.options import options
from tornado.web import authenticated

if not options.basic_auth or not all(re.fullmatch(".+:.+", one) for one in options.basic_auth):
    raise SystemExit("Flower needs a password: set FLOWER_BASIC_AUTH, as in FLOWER_BASIC_AUTH=admin:a-long-password")


class Queues:
    """How long queues are, and how many workers take messages from them, as the broker tells every client.

    Flower asks RabbitMQ's management API, which is another port with rights of its own, and workers for the names of
    their queues, which accept no questions here.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def queues(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """What Flower shows of each queue that there is, and of what was set aside of it."""
        return await asyncio.to_thread(self._ask, [one for name in names for one in (name, f"{name}.dead")])

    def _ask(self, names: Iterable[str]) -> list[dict[str, Any]]:
        found = []
        with self._app.connection_for_read(connect_timeout=2) as connection:
            connection.ensure_connection(max_retries=1)
            for name in names:
                with connection.channel() as channel:  # asking for a queue that does not exist closes the channel
                    try:
                        told = channel.queue_declare(name, passive=True)
                    except connection.channel_errors:
                        continue
                found.append({"name": name, "messages_ready": told.message_count, "consumers": told.consumer_count})
        return found


if not options.broker_api:
    BaseHandler.get_broker = lambda view: Queues(view.capp)
getLogger("flower.inspector").setLevel(ERROR)  # workers that take no commands answer no questions
monitor.Metrics.get = authenticated(monitor.Metrics.get)  # Flower shows them to anybody; only its health is for probes
read_only = True
max_tasks = 10_000  # that it remembers
purge_offline_workers = 60  # seconds
enable_events = True  # asks workers to tell of their tasks, which they do not do otherwise
tasks_columns = "name,uuid,state,args,received,started,runtime,worker"
natural_time = False

"""`ENGINE = "embedded.postgresql"`: the shop's backend, but connecting starts the server if it is not running.

So every command works without a running server, and concurrent commands share one.
"""

import atexit
from typing import Any

from django.conf import settings
from django.db import OperationalError
from django.db.backends.postgresql import client

from embedded.server import PORT, NotStarted, Server
from fastdb.postgresql import base

server = Server(settings.VAR_DIR.absolute() / "postgres")
atexit.register(server.release)


class DatabaseClient(client.DatabaseClient):
    """`manage.py dbshell` with the wheel's psql."""

    @classmethod
    def settings_to_cmd_args_env(cls, settings_dict: dict[str, Any], parameters: Any) -> Any:
        located = settings_dict | {"HOST": str(server.ensure()), "PORT": PORT}
        (_, *arguments), env = super().settings_to_cmd_args_env(located, parameters)
        return [str(server.psql), *arguments], env


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection to the embedded server."""

    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        try:
            directory = server.ensure()
        except NotStarted as error:
            raise OperationalError(str(error)) from error
        return super().get_connection_params() | {"host": str(directory), "port": PORT}

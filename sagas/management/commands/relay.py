"""`manage.py relay`: from the outboxes to the broker."""

import gc
import logging
import signal
import time
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sagas.conf import hook
from sagas.publisher import in_memory
from sagas.registry import local_services
from sagas.relay import Relay, publish_outbox

logger = logging.getLogger(__name__)

SLOWEST_ROUND = 30.0  # seconds that a relay may take for one portion, with a server that does not answer


class Command(BaseCommand):
    help = "Publish what is in the outboxes of the services of this process, until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--service", action="append", metavar="NAME", help="only this one's; may be repeated")
        parser.add_argument("--once", action="store_true", help="publish what is there now, and exit")

    def handle(self, *, service: list[str] | None, once: bool, **options: Any) -> None:
        services = service or local_services()
        if unknown := sorted(set(services) - set(local_services())):
            raise CommandError(f"No outbox here: {', '.join(unknown)}. There are: {', '.join(local_services())}.")
        if in_memory():
            raise CommandError(
                "The broker in memory ends with this process, and what it published would be lost. Name a broker that "
                "runs by itself."
            )
        if once:
            for name in services:
                self.stdout.write(f"{name}: {_publish_all(name)} events published")
        else:
            self._serve(services)

    def _serve(self, services: list[str]) -> None:
        """Relay until told to stop, or until a relay dies: whoever supervises this process starts it again."""
        stop = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        relays = [Relay(name) for name in services]
        hook().process_started()
        gc.collect()
        gc.freeze()  # what is imported stays; to look through all of it would halt every relay for 0.1 s now and then
        with ThreadPoolExecutor(len(relays)) as threads:
            running = {relay.service: threads.submit(relay.run) for relay in relays}
            self.stdout.write(f"Relaying the outboxes of {', '.join(services)}")
            self.stdout.flush()
            while not stop.wait(1.0) and not any(one.done() for one in running.values()):
                if time.monotonic() - min(relay.seen_at for relay in relays) < SLOWEST_ROUND:
                    hook().process_alive()
            hook().process_ending()
            for relay in relays:
                relay.stop()
        if died := {service: error for service, one in running.items() if (error := one.exception())}:
            for service, error in died.items():
                logger.error("The relay of %s died", service, exc_info=error)
            raise CommandError(f"The relay of {', '.join(died)} died; the log says of what.")
        self.stdout.write("Relay stopped")


def _publish_all(service: str) -> int:
    """Publish everything in a service's outbox; how many events that was."""
    relayed = 0
    while portion := publish_outbox(service):
        relayed += portion
    return relayed

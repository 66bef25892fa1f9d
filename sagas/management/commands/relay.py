"""`manage.py relay`: from the outboxes to the broker."""

import signal
import time
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from sagas.conf import hook
from sagas.publisher import is_lost_on_exit
from sagas.registry import local_services
from sagas.relay import Relay


class Command(BaseCommand):
    help = "Publish what is in the outboxes of the services of this process, until SIGTERM or Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        choices = local_services()
        parser.add_argument("--service", action="append", choices=choices, help="only this one's; may be repeated")

    def handle(self, *, service: list[str] | None, **options: Any) -> None:
        """Relay until told to stop, or until a relay dies: whoever supervises this process starts it again."""
        if is_lost_on_exit():
            raise CommandError("What a broker in memory has is lost with its process: name one that runs by itself.")
        stop = Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        relays = [Relay(name) for name in service or local_services()]
        hook().process_started()
        with ThreadPoolExecutor(len(relays)) as threads:
            running = [threads.submit(relay.run) for relay in relays]
            self.stdout.write(f"Relaying the outboxes of {', '.join(relay.service for relay in relays)}")
            self.stdout.flush()
            while not stop.wait(1.0) and not any(one.done() for one in running):
                hook().process_alive(time.monotonic() - min(relay.seen_at for relay in relays))
            hook().process_ending()
            for relay in relays:
                relay.stop()
        for one in running:
            one.result()  # raises what its relay died of
        self.stdout.write("Relay stopped")

"""Delivers a benchmark's parcels: runs the sandbox's timer as beat would, and no other timer."""

import time

import django

TICK = 0.1  # seconds: shorter than beat's, because the end of an order is measured


def main() -> None:
    django.setup()
    import delivery.tasks  # noqa: F401 (registers the timer)
    from sagas import Unavailable
    from sagas.registry import TIMERS

    while True:
        try:
            while TIMERS["delivery.advance_deliveries"]():
                pass
        except Unavailable:
            pass  # until the next tick
        time.sleep(TICK)


if __name__ == "__main__":
    main()

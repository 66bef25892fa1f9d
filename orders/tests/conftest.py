from tests.conftest import _outages_are_not_waited_for, bus, no_waiting

__all__ = ["_outages_are_not_waited_for", "bus", "no_waiting"]

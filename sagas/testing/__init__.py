"""For tests of a project's sagas: a bus in memory, a dialogue, and the properties that every saga must have.

bus          a broker in memory: any order, twice, or never   dialogue    given(…).expect(…).emits(…)
conformance  checks that a project runs over its own saga     boundaries  crash points, read from code
"""

from sagas.testing.bus import Bus, Crash, crashing_at
from sagas.testing.conformance import Conformance
from sagas.testing.dialogue import given

__all__ = ["Bus", "Conformance", "Crash", "crashing_at", "given"]

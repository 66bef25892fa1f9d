"""For tests of a project's sagas: a bus in memory, a dialogue, and the properties that every saga must have.

bus          a broker in memory: any order, twice, or never   dialogue    given(…).expect(…).emits(…)
conformance  checks that a project runs over its own saga     boundaries  crash points, read from code
worlds       transactions that leave nothing behind           crashes     a process that dies at a crash point
"""

from sagas.testing.bus import Bus, publishing_to
from sagas.testing.conformance import Conformance
from sagas.testing.crashes import Crash, calling
from sagas.testing.dialogue import given
from sagas.testing.worlds import rolled_back

__all__ = ["Bus", "Conformance", "Crash", "calling", "given", "publishing_to", "rolled_back"]

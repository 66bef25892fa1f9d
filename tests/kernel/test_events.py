"""Events: read by every release, and named in the order of their making."""

import os

from sagas.conf import choreography
from sagas.events import decode, encode, uuid7
from tests.support.sagas import created


def test_readers_ignore_fields_they_do_not_know():
    event = created(1)

    assert decode({**encode(event), "added_next_year": 1}, choreography().events) == event


def test_identifiers_sort_by_the_time_they_were_made():
    made = [uuid7() for _ in range(3)]

    assert all(one.version == 7 and one.variant.startswith("specified in RFC") for one in made)
    assert len(set(made)) == 3


def test_a_forked_process_makes_others():
    def random_part() -> bytes:
        return uuid7().bytes[9:]

    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.write(writing, random_part())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 7) != random_part()
    os.close(reading)
    os.close(writing)

"""Events: read by every release, and named in the order of their making."""

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

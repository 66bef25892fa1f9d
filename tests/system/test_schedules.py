"""Any schedule of duplicates, reorderings, delays, losses, crashes, overlaps and cancellations ends well.

hypothesis makes the schedules, so one that fails is shrunk and printed as a dialogue. `make test` plays the same
two hundred and fifty each time; SCHEDULES=100000 plays so many others (`make simulate`).
"""

import os
from collections import Counter
from collections.abc import Sequence
from itertools import chain

import pytest
from hypothesis import HealthCheck, Phase, example, given, note, settings
from hypothesis import strategies as st

from sagas import execution, inbox
from sagas.execution import handle
from sagas.registry import AnyStep
from sagas.testing import rolled_back
from shop.calls import substituting
from shop.contracts.catalog import CatalogService
from shop.contracts.events import OrderEvent
from shop.contracts.payments import AT_HAND_OVER, CAPTURES
from tests.conftest import SERVICES
from tests.support.boundaries import all_points
from tests.support.fakes import FakeCatalog
from tests.support.outsiders import LOSSES
from tests.support.simulation import (
    CHOICES,
    LOST,
    MEANWHILE,
    MERGED,
    OVERTAKEN,
    PRODUCTS,
    TWICE,
    Decision,
    Schedule,
    Wish,
    World,
)

pytestmark = [
    pytest.mark.django_db(databases=SERVICES),
    pytest.mark.usefixtures("bus", "no_waiting", "gateways_answer_soon"),
]

MORE = "SCHEDULES" in os.environ
SCHEDULES = int(os.environ.get("SCHEDULES", 250))
DECISIONS = 6
# Those of the steps, relays and timers. tests/integration/test_every_crash.py kills real processes at each there is.
WHO = [
    "step",
    "publisher",
    "relay",
    "charge",
    "gateway",
    "capture",
    "refund",
    "settle",
    "advance",
    "cancellation",
    "change",
    "look_after",
    "overdue",
    "return",
    "notification",
    *("return_request", "return_decision", "return_withdrawal", "return_look", "return_parcels"),
]
BOUNDARIES = sorted(point for point in all_points() if point.partition(".")[0] in WHO)
# A step's worker may be overtaken by another with the same message, but not where it has a transaction open or may hold
# locks.
ALONE = {"step.written", "step.committed"}
OVERTAKINGS = [
    OVERTAKEN + one for one in BOUNDARIES if one.startswith(("step.", "charge.", "gateway.")) and one not in ALONE
]
# What others do meanwhile may change everything that a process has read; where it has no transaction open.
MEANWHILES = [
    MEANWHILE + one
    for one in BOUNDARIES
    if one.startswith(("charge.", "gateway.", "refund.committed", "return.note_committed"))
    or (one.startswith("settle.") and not one.endswith("written"))
]
# What gateways are asked and answer, and how payments then go on.
ANSWERS = {
    "CHARGE": "ACTIONREQUIRED AUTHORIZED CAPTURED DECLINED UNKNOWN WAITING",
    "CONFIRM": "ACTIONREQUIRED AUTHORIZED CAPTURED DECLINED UNKNOWN WAITING",
    "CAPTURE": "DONE REFUSED UNKNOWN",
    "FIND": "NOTFOUND STATE UNKNOWN",
    "REFUND": "DONE UNKNOWN",
    "VOID": "DONE REFUSED UNKNOWN",
}
ANSWERED = {f"{question}: {answer}" for question, answers in ANSWERS.items() for answer in answers.split()}
UNHURRIED = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    phases=set(Phase) - {Phase.explain},  # the dialogue does
)

wishes = st.builds(
    Wish,
    quantity=st.integers(1, 4),  # of 6 in stock: some orders must be refused
    payment_token=st.sampled_from(
        [
            "tok_ok",
            "tok_declined",
            "tok_timeout_charged",
            "tok_flaky_3",
            "tok_action",
            "tok_action",
            "tok_deposit",
            "tok_hold_lost",
        ]
    ),
    address=st.sampled_from(["", "addr_refused_by_carrier", "addr_refused_by_recipient", "addr_second_refused"]),
    cancelled_at=st.none() | st.integers(0, DECISIONS),
)


def decisions_with(*troubles: str) -> st.SearchStrategy[list[Decision]]:
    """About half of them are free of trouble."""
    trouble = st.sampled_from([*[None] * len(troubles), *troubles])
    decisions = st.builds(Decision, choice=st.integers(0, CHOICES - 1), trouble=trouble)
    return st.lists(decisions, min_size=DECISIONS, max_size=DECISIONS)


schedules = st.builds(
    Schedule,
    wishes=st.lists(wishes, min_size=1, max_size=2),
    calm=st.integers(0, 8),
    decisions=decisions_with(*[LOST] * 4, *[TWICE] * 10, *BOUNDARIES, *OVERTAKINGS, *MEANWHILES, *LOSSES),
    capture=st.sampled_from(CAPTURES),
    returned=st.sampled_from([False, False, True]),
)
# As hypothesis draws them, some five: it does not think much of longer lists, but knows how to shorten them.
some_schedules = st.lists(schedules, min_size=1, max_size=len(PRODUCTS) // 10)
worlds = st.tuples(*[some_schedules] * 10).map(lambda parts: [*chain(*parts)])


def dying_at(boundary: str) -> Schedule:
    """A schedule in which some process certainly comes by there: in its first decision, in its last, or between."""
    if boundary.startswith("capture"):
        return Schedule([Wish(1, "tok_ok", "", cancelled_at=None)], 8, [Decision(0, boundary)] * 20, AT_HAND_OVER)
    if boundary.startswith("refund"):
        return Schedule([Wish(1, "tok_ok", "", cancelled_at=0)], 4, [Decision(0, boundary)] * 20)
    if boundary.startswith("change."):  # of an order with two pieces, before it has gone
        return Schedule([Wish(2, "tok_ok", "", cancelled_at=None)], 4, [Decision(8, boundary)] * 3)
    if boundary.startswith("settle.operation"):  # charged, which nobody knows when its order is undone
        unknown = Wish(1, "tok_timeout_charged", "", cancelled_at=0)
        return Schedule([unknown], 3, [*[Decision(0, None)] * 8, *[Decision(0, boundary)] * 3])
    if boundary.startswith("advance"):  # which the timer passes once a parcel is due
        return Schedule([Wish(1, "tok_ok", "", None)], 0, [Decision(0, boundary), *[Decision(0, None)] * 30])
    if boundary.startswith("return_parcels"):  # likewise, once the return is approved
        approved = [Decision(0, boundary), Decision(19, None), *[Decision(0, None)] * 30]
        return Schedule([Wish(2, "tok_ok", "", None)], 0, approved, returned=True)
    if boundary.startswith("return_"):
        return Schedule(
            [Wish(2, "tok_ok", "", cancelled_at=None)], 0, [Decision(0, boundary)] * DECISIONS, returned=True
        )
    if boundary.startswith(("return", "notification")):
        choice = 1 if boundary.startswith("return") else 26
        return Schedule([Wish(1, "tok_action", "", cancelled_at=None)], 8, [Decision(choice, boundary)] * DECISIONS)
    wish = Wish(1, "tok_timeout_charged", "", cancelled_at=2 if boundary.startswith("cancellation") else None)
    return Schedule([wish], 0, [Decision(0, boundary), *[Decision(0, None)] * (DECISIONS - 2), Decision(0, boundary)])


def merged() -> Schedule:
    """A schedule in which two messages for one step are certainly handled as one: what follows from one comes twice."""
    twice = [Decision(0, None), Decision(0, TWICE), Decision(0, None)]
    return Schedule(
        [Wish(1, "tok_ok", "", None)] * 2, 0, [*twice, *(Decision(choice, None) for choice in range(30, 36))]
    )


def overtaken(trouble: str) -> Schedule:
    """A schedule in which that certainly happens."""
    return Schedule([Wish(1, "tok_timeout_charged", "", cancelled_at=None)], 0, [Decision(0, trouble)] * DECISIONS)


def meanwhile(trouble: str) -> Schedule:
    """A schedule in which a process is certainly there, and its order is cancelled while it is."""
    boundary = trouble.removeprefix(MEANWHILE)
    if boundary.startswith("return"):
        return Schedule([Wish(1, "tok_action", "", None)], 8, [Decision(1, trouble)])
    if boundary.startswith("settle"):  # which ends a wait, while its customer pays after all
        return Schedule([Wish(1, "tok_action", "", None)], 8, [Decision(16, None), Decision(1, trouble)])
    if boundary.startswith("refund"):
        return dying_at(boundary)._replace(decisions=[Decision(0, trouble)] * 20)
    return Schedule([Wish(1, "tok_timeout_charged", "", 9)], 0, [Decision(0, trouble)] * 9)


def losing(loss: str) -> Schedule:
    """A schedule in which a gateway certainly has to do that."""
    operation = loss.rpartition(" ")[2]
    if operation == "capture":
        return dying_at("capture")._replace(decisions=[Decision(0, loss)] * 20)
    if operation == "refund":
        return Schedule([Wish(1, "tok_ok", "", 0)], 4, [Decision(0, loss)] * 20)
    if operation in ("find", "void"):
        return Schedule([Wish(1, "tok_action", "", 0)], 8, [Decision(0, loss)] * 12)
    wish = Wish(1, "tok_action" if operation == "confirm" else "tok_ok", "", None)
    return Schedule([wish], 8 if operation == "confirm" else 0, [Decision(1, loss)] * DECISIONS)


def narrow(token: str, *decisions: Decision, cancelled_at: int | None = None) -> Schedule:
    """A schedule in which a payment gets to where chance seldom brings it."""
    return Schedule([Wish(1, token, "", cancelled_at)], 8, [*decisions, *[Decision(0, None)] * 24])


STAYS_AWAY, PART, PAYS, MUCH = Decision(16, None), Decision(13, None), 6, 5
NARROW = [
    narrow("tok_action", STAYS_AWAY, Decision(PAYS, f"{MEANWHILE}settle.operation_committed")),
    narrow("tok_action", STAYS_AWAY, Decision(MUCH, f"{MEANWHILE}settle.answered"), cancelled_at=9),
    narrow("tok_action", STAYS_AWAY, Decision(0, "answer lost of void")),
    narrow("tok_action", Decision(PAYS, "answer lost of confirm")),
    narrow("tok_ok", PART, *[Decision(0, "answer lost of refund")] * DECISIONS),
    narrow("tok_hold_lost")._replace(capture=AT_HAND_OVER),
    narrow("tok_action", Decision(PAYS, None))._replace(capture=AT_HAND_OVER),
    narrow("tok_ok", cancelled_at=9)._replace(calm=0, decisions=[Decision(MUCH, f"{MEANWHILE}gateway.asking")] * 20),
]


def play(schedules: Sequence[Schedule]) -> Counter[str]:
    """Play schedules in a world that leaves nothing; how often what went wrong."""
    with rolled_back(), substituting(CatalogService, FakeCatalog(PRODUCTS)):
        world = World(schedules)
        try:
            world.play()
            assert world.verdict() == []
        finally:
            note("\n".join(world.dialogue))
    return world.fired


@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # of one that fails: its dialogue says it, too
def test_any_schedule_ends_well():
    played, fired, failed = 0, Counter[str](), False

    @settings(UNHURRIED, max_examples=SCHEDULES // 10 + 1, derandomize=not MORE)
    @given(worlds)
    @example([dying_at(boundary) for boundary in BOUNDARIES])
    @example([merged()])
    @example([overtaken(trouble) for trouble in OVERTAKINGS])
    @example([meanwhile(trouble) for trouble in MEANWHILES])
    @example([losing(loss) for loss in LOSSES] + NARROW)
    def any_schedule_ends_well(schedules: list[Schedule]):
        nonlocal played, failed
        if played >= SCHEDULES and not failed:
            return
        try:
            fired.update(play(schedules))
        except BaseException:
            failed = True  # from now on hypothesis looks for a shorter one
            raise
        played += len(schedules)
        if MORE and played // 1000 > (played - len(schedules)) // 1000:
            print(f"{played} of {SCHEDULES} schedules played", flush=True)

    any_schedule_ends_well()
    assert played >= SCHEDULES
    if MORE:
        print(f"{played} schedules: {', '.join(f'{count} {what}' for what, count in fired.most_common())}")
    else:
        assert fired.keys() == {LOST, TWICE, MERGED, *BOUNDARIES, *OVERTAKINGS, *MEANWHILES, *LOSSES, *ANSWERED}


def test_a_mistake_is_found_and_told_in_few_words(monkeypatch: pytest.MonkeyPatch):
    """The classic one: what comes again is dropped, though nobody may have heard what followed from it."""

    def forgetful(step: AnyStep, batch: Sequence[OrderEvent]) -> list[OrderEvent]:
        handled = inbox.handled(step, batch)
        fresh = [event for event in batch if event.event_id not in handled]
        return handle(step, fresh) if fresh else []

    monkeypatch.setattr(execution, "handle", forgetful)

    @settings(UNHURRIED, max_examples=500, derandomize=True, database=None)
    @given(st.integers(0, 8), decisions_with(TWICE, "step.committed"))
    def any_schedule_ends_well(calm: int, decisions: list[Decision]):
        play([Schedule([Wish(1, "tok_ok", "", cancelled_at=None)], calm, decisions)])

    with pytest.raises(AssertionError, match="order 1 never ended") as found:
        any_schedule_ends_well()
    dialogue = "\n".join(found.value.__notes__).splitlines()
    assert sum(line.endswith("is placed: 1 of 6 pieces, tok_ok") for line in dialogue) == 1
    assert sum(line.startswith("✗") for line in dialogue) == 1  # after which something would have had to be told again

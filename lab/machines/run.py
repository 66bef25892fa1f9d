"""Load on the machines while one after another fails and recovers."""

import time
from contextlib import suppress
from random import Random
from typing import Any

from django.db import connections

from lab.chaos.client import Client, Outcome
from lab.chaos.faults import Fired
from lab.chaos.plan import PlannedFault
from lab.chaos.returning import Returning
from lab.chaos.run import Load, asked
from lab.chaos.verdict import AT_REST, Verdict, judge
from lab.machines.cluster import Cluster
from lab.machines.faults import KINDS, Fault
from lab.machines.machine import Machine
from lab.rig.servers import until

THREADS = 24  # of the client: some wait for a machine that is gone
LONGEST = 300.0  # seconds that a fault may last
WHOLE_WITHIN = 180.0  # seconds from the end of a fault
NOT_AT_REST = "SELECT count(*) FROM orders_order WHERE id = ANY(%s) AND status <> ALL(%s)"
ON_ITS_WAY = "SELECT count(*) FROM orders_order WHERE id = ANY(%s) AND status = ANY(%s) AND status <> 'CANCELLED'"


class MachineRun(Load[Cluster]):
    """The load, the faults one by one, and the verdict. Times are by this process's clock only."""

    def play_machines(self, *, rate: float, patience: float) -> Verdict:
        """Keep each fault until the shop has recovered or `patience` is over; then bring the machine back."""
        client = Client(self.system.urls, self.tokens, self.plan.orders, rate)
        fired: list[Fired] = []
        with self._watching(client, fired), Returning(client, self.system.urls, self.tokens) as returning:
            client.start(THREADS)
            for number, planned in enumerate(self.plan.faults, 1):
                time.sleep(planned.gap)
                if not self._one(number, planned, client, fired, min(patience, LONGEST)):
                    break
            calm_since = time.time()
            client.enough()
            until(lambda: not client.busy, "the end of the load", seconds=600)
            self._await_rest(patience)
            returning.no_more()
            self._await_rest(patience)
        seconds = time.time() - calm_since
        connections.close_all()
        verdict = judge(
            client, fired, seed=self.plan.seed, restarts=self.system.restarts, seconds_to_rest=seconds, one_by_one=True
        )
        self.system.keep = self.system.keep or not verdict.good
        return verdict

    def _one(self, number: int, planned: PlannedFault, client: Client, fired: list[Fired], patience: float) -> bool:
        """Inject a fault, wait for recovery, undo it; return False if the cluster does not become whole afterwards."""
        one = Fired(number, planned.kind, time.time())
        fired.append(one)
        machine = self._machine(planned)
        fault = self._make(one, planned, machine)
        one.ended = time.time()
        self.system.say(
            f"{one.began - client.began:6.1f} s  [bold]{one.kind}[/]  {one.proof or f'[red]{one.failure}[/]'}"
        )
        if fault is None:
            return True
        with suppress(TimeoutError):
            until(lambda: self._has_recovered(one, client), "recovery", seconds=patience, pause=0.5)
        fault.undo()
        said = ["never" if at is None else f"after {at:.1f} s" for at in (one.flows_after, one.recovered_after)]
        self.system.say(f"          orders flow {said[0]}, all caught up {said[1]}")
        try:
            self.system.say(
                f"          whole again {self.system.becomes_whole(WHOLE_WITHIN):.1f} s after it was undone"
            )
        except TimeoutError as error:
            one.failure = f"{machine.name} does not come back: {error}"
            return False
        return True

    def _machine(self, planned: PlannedFault) -> Machine:
        primary = self.system.primary()
        others = [machine for machine in self.system.machines if machine is not primary]
        return primary if KINDS[planned.kind].primary else Random(planned.choice).choice(others)

    def _make(self, one: Fired, planned: PlannedFault, machine: Machine) -> Fault | None:
        try:
            fault = KINDS[planned.kind].make(self.system, machine)
        except Exception as error:
            one.failure = f"{type(error).__name__}: {error}"
            return None
        one.proof = fault.proof
        return fault

    def _has_recovered(self, one: Fired, client: Client) -> bool:
        """Whether all orders placed before have ended or are with the carrier, and one placed since is on its way."""
        placed = [each for each in list(client.operations) if each.what == "place" and each.outcome == Outcome.OK]
        before = [each.order_id for each in placed if each.began <= one.began]
        after = [each.order_id for each in placed if each.began > one.ended]
        if one.flows_after is None and after and asked(lambda: _count(ON_ITS_WAY, [after, list(AT_REST)])):
            one.flows_after = time.time() - one.ended
        if one.flows_after is None or asked(lambda: _count(NOT_AT_REST, [before, list(AT_REST)])) != 0:
            return False
        one.recovered_after = time.time() - one.ended
        return True


def _count(sql: str, values: list[Any]) -> int:
    with connections["orders"].cursor() as cursor:
        cursor.execute(sql, values)
        (found,) = cursor.fetchone()
        return int(found)

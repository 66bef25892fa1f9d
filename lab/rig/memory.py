"""Measures the memory of a run's processes."""

from contextlib import suppress

import psutil  # type: ignore[import-untyped]

from lab.rig.processes import Processes

MIB = 2**20


class Memory:
    """Returns resident MiB by role of the processes; children count with their parents.

    The children are looked up once, before the load: scanning all processes of a machine takes longer than an order may
    be late.
    """

    def __init__(self, processes: Processes) -> None:
        pids = {pid: one.role for one in processes.all for pid in (one.pid, *one.children())}
        self._processes = [(psutil.Process(pid), role) for pid, role in pids.items()]

    def __call__(self) -> dict[str, float]:
        used = dict.fromkeys((role for _, role in self._processes), 0.0)
        for process, role in self._processes:
            with suppress(psutil.NoSuchProcess):
                used[role] += process.memory_info().rss / MIB
        return {role: round(mib, 1) for role, mib in used.items()}

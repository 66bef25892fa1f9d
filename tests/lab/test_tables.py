"""The summary of a chaos run as tables: what has brackets in its name is shown as it is."""

from io import StringIO

from rich.console import Console

from lab.chaos.faults import Fired
from lab.chaos.tables import show
from lab.chaos.verdict import Verdict


def test_brackets_are_shown():
    fault = Fired(number=1, kind="kill [web]", began=0.0, ended=1.0, recovered_after=2.0)
    verdict = Verdict(
        seed=1,
        wrong={"lost [orders]": 1},
        findings=["lost [orders]: order 1"],
        outcomes={"place [bold]": 3},
        unknown_because={},
        kinds={},
        statuses={},
        returns={},
        books=[],
        faults=[fault],
        restarts=0,
        dead_letters={"orders.[x]": 1},
        seconds=1.0,
        seconds_to_rest=1.0,
        endings=[],
        placed=[],
    )
    shown = StringIO()
    show(Console(file=shown, width=120), verdict)
    for text in ("kill [web]", "lost [orders] ", "lost [orders]: order 1", "3 place [bold]", "1 orders.[x]"):
        assert text in shown.getvalue(), text

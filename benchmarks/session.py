"""The frame of a measuring run: progress, and a complete clean-up however it ends."""

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.results import busy
from benchmarks.surroundings import Unfit, refuse_unfit_surroundings

COLUMNS = (
    SpinnerColumn(),
    TextColumn("{task.description:<48}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
)


@contextmanager
def measuring() -> Iterator[tuple[Progress, ExitStack]]:
    """Run a block that measures; yield where it reports progress, and what it registers for clean-up.

    Ends the process if the block raises `Unfit` (exit code 2, with the reason), or is interrupted.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # cleans up as after Ctrl-C
    console = Console(stderr=True)
    try:
        refuse_unfit_surroundings()
        if note := busy():
            console.print(note, style="yellow", highlight=False)
        with ExitStack() as cleanup, Progress(*COLUMNS, console=console) as progress:
            yield progress, cleanup
    except Unfit as unfit:
        console.print(str(unfit), style="red", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("Interrupted; what it had made is gone.")
        sys.exit(130)

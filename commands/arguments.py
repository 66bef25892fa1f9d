"""Types of commands' arguments: invalid values are refused with a message before anything is done."""

import math
from argparse import ArgumentTypeError
from collections.abc import Callable


def whole(*, least: int = 0, most: int = 2**63 - 1) -> Callable[[str], int]:
    """Return a type for whole numbers within bounds."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not least <= number <= most:
            bounds = f"at least {least}" if most == 2**63 - 1 else f"from {least} to {most}"
            raise ArgumentTypeError(f"{text} is not possible: give a whole number, {bounds}")
        return number

    return read


def real(*, above: float = -math.inf, least: float = -math.inf, most: float = math.inf) -> Callable[[str], float]:
    """Return a type for finite numbers within bounds."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is not a number") from None
        if not math.isfinite(number) or number <= above or number < least or number > most:
            words = [f"above {above:g}"] * (above > -math.inf) + [f"at least {least:g}"] * (least > -math.inf)
            words += [f"at most {most:g}"] * (most < math.inf)
            raise ArgumentTypeError(f"{text} is not possible: give a number{', ' * bool(words)}{' and '.join(words)}")
        return number

    return read


an_id = whole(least=1)
LONGEST = 10 * 365 * 86_400.0  # seconds: ten years, small enough for calculating with dates
seconds = real(least=0, most=LONGEST)

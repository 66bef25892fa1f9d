"""Escapes the cells of a CSV file, so that a spreadsheet takes none of them for a formula."""

import re
from typing import Any

FORMULA = re.compile(r"'*[=+\-@\t\r]")
NUMBER = re.compile(r"[+-]?\d+")
ESCAPED = re.compile(r"'+[=+\-@\t\r]")


def shielded(cell: Any) -> Any:
    """Escape a cell for the export: a spreadsheet would run a text that begins like a formula."""
    is_formula = isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell


def unshielded(cell: Any) -> Any:
    """Undo `shielded`."""
    return cell[1:] if isinstance(cell, str) and ESCAPED.match(cell) else cell

"""What the cells of a CSV file hold: no text that a spreadsheet takes for a formula, and money as on a price tag."""

import re
from decimal import Decimal
from typing import Any

from shop.money import DECIMALS

STARTS = r"[=+\-@＝＋－＠\t\r\n]"  # https://owasp.org/www-community/attacks/CSV_Injection, and their wide forms
FORMULA = re.compile(f"'*{STARTS}")
NUMBER = re.compile(r"[+-]?\d+")
AMOUNT = re.compile(r"[+-]?\d{1,20}(\.\d{1,20})?")
ESCAPED = re.compile(f"'+{STARTS}")


def shielded(cell: Any) -> Any:
    """Escape a cell for the export: a spreadsheet would run a text that begins like a formula."""
    is_formula = isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell


def unshielded(cell: Any) -> Any:
    """Undo `shielded`."""
    return cell[1:] if isinstance(cell, str) and ESCAPED.match(cell) else cell


def major_units(amount: int, currency: str) -> Decimal:
    """An amount in the currency's minor unit, as people write it: 19.99. An unknown currency has no decimals."""
    return Decimal(amount).scaleb(-DECIMALS.get(currency, 0))

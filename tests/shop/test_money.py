"""Money as people read it: by the decimals of each currency, the same wherever it is shown."""

import pytest
from django.core.exceptions import ValidationError

from shop.money import CURRENCIES, check_currency, money


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (1999, "KRW", "₩1,999"),
        (1999, "JPY", "1,999 JPY"),
        (1999, "USD", "19.99 USD"),
        (1999, "KWD", "1.999 KWD"),
        (5, "EUR", "0.05 EUR"),
        (5, "BHD", "0.005 BHD"),
        (0, "USD", "0.00 USD"),
        (123456789012, "USD", "1,234,567,890.12 USD"),
        (2**63 - 1, "KRW", "₩9,223,372,036,854,775,807"),
        (2**63 - 1, "USD", "92,233,720,368,547,758.07 USD"),
        (-150, "USD", "-1.50 USD"),
        (-150, "KRW", "-₩150"),
        (7, "ZZZ", "7 ZZZ"),
        (0, "", "0"),
    ],
)
def test_an_amount_by_its_currency(amount: int, currency: str, shown: str):
    assert money(amount, currency) == shown


def test_currencies_are_those_of_the_standard():
    assert len(CURRENCIES) == len(set(CURRENCIES)) == 153
    for code in CURRENCIES:
        check_currency(code)
    for code in ("ZZZ", "krw", "", "KRW ", "XXX", "XAU", "DEM"):
        with pytest.raises(ValidationError, match="ISO 4217"):
            check_currency(code)

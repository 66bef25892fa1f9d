"""Amounts of money as people read them. Everywhere else an amount is an integer in the currency's minor unit."""

from decimal import Decimal

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy

# ISO 4217: the currencies that are money today, by how many decimals their minor unit has.
_DECIMALS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC "
        "CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR "
        "JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD "
        "NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN "
        "SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VES WST XCD YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
}
DECIMALS = {code: decimals for decimals, codes in _DECIMALS.items() for code in codes.split()}
CURRENCIES = tuple(sorted(DECIMALS))
LARGEST = 2**53 - 1  # the largest integer that every JSON parser, such as JavaScript's, keeps exactly
SYMBOLS = {"KRW": "₩"}  # for the shop's home currency; other currencies are shown by their code


def check_currency(code: str) -> None:
    """A validator: the code is one of ISO 4217's."""
    if code not in DECIMALS:
        raise ValidationError(gettext_lazy("Give an ISO 4217 code."), code="currency")


def minor_units(amount: Decimal, currency: str) -> Decimal:
    """An amount as people write it, in the currency's minor unit: no whole number, if the currency has none so small.
    The currency is one of ISO 4217's."""
    return amount.scaleb(DECIMALS[currency])


def money(amount: int, currency: str) -> str:
    """₩1,999, 19.99 USD, 1.999 KWD: an amount in the currency's minor unit. An unknown currency has no decimals."""
    decimals = DECIMALS.get(currency, 0)
    whole, rest = divmod(abs(amount), 10**decimals)
    figure = f"{whole:,}.{rest:0{decimals}}" if decimals else f"{whole:,}"
    sign, symbol = "-" * (amount < 0), SYMBOLS.get(currency)
    return f"{sign}{symbol}{figure}" if symbol else f"{sign}{figure} {currency}".rstrip()

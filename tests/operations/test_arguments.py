"""What cannot be meant is refused with a sentence, by every command that takes a number; and before it begins."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.conftest import SERVICES

pytestmark = pytest.mark.django_db(databases=SERVICES)


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("audit --age nan", "nan is not possible: give a number, at least 0"),
        ("audit --age inf", "inf is not possible"),
        ("audit --age 1e99", "1e99 is not possible"),
        ("audit --age -1", "-1 is not possible"),
        ("audit --age soon", "'soon' is not a number"),
        ("saga 0", "0 is not possible: give a whole number, at least 1"),
        ("saga 99999999999999999999", "is not possible: give a whole number"),
        ("saga 99999999", "Nothing is known of order 99999999."),
        ("saga 99999999 --follow", "Nothing is known of order 99999999."),
        ("trace 0", "0 is not possible"),
        ("deadletters show inventory 99999999999999999999", "is not possible"),
        ("deadletters replay inventory -- -1", "-1 is not possible"),
        ("deadletters discard inventory 0 --reason x", "0 is not possible"),
        ("fault set step-delay nan", "nan is not possible"),
        ("redrive 1_0", "'1_0' is neither an order's id nor a range"),
        ("redrive ²", "'²' is neither an order's id nor a range"),
        ("redrive 20-10", "'20-10' is neither an order's id nor a range"),
        ("chaos --orders -1", "-1 is not possible: give a whole number, at least 20"),
        ("chaos --orders 5 --fast --faults 1 --seed 1", "5 is not possible: give a whole number, at least 20"),
        ("chaos --faults -2", "-2 is not possible"),
        ("chaos --rate 0", "0 is not possible: give a number, above 0"),
        ("chaos --rate nan", "nan is not possible"),
        ("chaos --patience inf", "inf is not possible"),
        ("chaos --seed x", "'x' is not a whole number"),
        ("loadtest steady --patience nan", "nan is not possible"),
        ("loadtest steady --seed -1", "-1 is not possible"),
        ("loadtest steady --rate nan", "rate"),
        ("loadtest ramp --paid-limit nan", "nan is not possible"),
        ("loadtest flash-sale --buyers -1", "at least one buyer"),
    ],
)
def test_what_cannot_be_meant_is_refused(command: str, sentence: str):
    name, *arguments = command.split()
    with pytest.raises(CommandError) as refused:
        call_command(name, *arguments, stdout=StringIO(), stderr=StringIO())
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value).strip()

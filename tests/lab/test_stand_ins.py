"""`manage.py standins`, and what says whether a gateway is configured as it should be."""

import socket
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.core.management import CommandError, call_command

from lab.management.commands import standins
from lab.providers.run import stand_ins
from payments.gateways import Authorization, Captured
from payments.gateways.stripe import StripeGateway
from shop.checks import check_gateway_keys, check_gateways
from shop.contracts.payments import ADAPTERS, STAND_IN_OPTIONS, Configured
from shop.operations import doctor


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def configured(settings: Any, **options: dict[str, str]) -> None:
    """Have a gateway for each adapter in `options`."""
    settings.PAYMENT_GATEWAYS = {adapter.upper(): Configured(adapter, given) for adapter, given in options.items()}


@pytest.fixture
def here(settings: Any) -> dict[str, str]:
    """Options of a Stripe account on this machine."""
    options = STAND_IN_OPTIONS["stripe"] | {"url": f"http://127.0.0.1:{free_port()}"}
    settings.PORT = 9  # nobody is told
    elsewhere = STAND_IN_OPTIONS["toss"] | {"url": "https://example.com:443"}
    configured(settings, stripe=options, toss=elsewhere, sandbox={"url": options["url"]})
    return options


def test_each_gateway_of_this_machine_has_a_stand_in_whose_books_outlive_it(here, tmp_path):
    request = Authorization("k", "order-1", 1, 33_000, "KRW", "pm_card_visa", capture=True)
    for _ in range(2):
        with stand_ins(tmp_path) as serving:
            assert {name: one.url for name, one in serving.items()} == {"STRIPE": here["url"]}
            gateway = StripeGateway("STRIPE", here | {"stall": "20", "patience": "20"})
            assert isinstance(gateway.authorize([request])[0], Captured)
            assert len(serving["STRIPE"].books.entries("order-1")) == 2  # held and taken, once
            gateway.provider.close()


def test_the_command_serves_them_until_it_is_stopped(here, settings, tmp_path, monkeypatch):
    settings.DEBUG, settings.VAR_DIR, out, answered = True, tmp_path, StringIO(), []

    def stopped() -> None:
        answered.append(httpx.get(f"{here['url']}/v1/payment_intents").status_code)
        raise KeyboardInterrupt

    monkeypatch.setattr(standins, "until_stopped", stopped)
    call_command("standins", stdout=out)
    assert answered == [401]  # it asks who that is
    assert out.getvalue() == f"STRIPE: {here['url']}\nStopped.\n"


def test_services_for_messages_of_this_machine_have_stand_ins_too(settings, tmp_path):
    configured(settings)
    mail, sms = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    settings.PORT, settings.EMAIL_SERVICE, settings.SMS_SERVICE = 9, "postmark", "solapi"
    settings.ANYMAIL, settings.SMS_OPTIONS = {"POSTMARK_API_URL": mail}, {"url": sms}
    with stand_ins(tmp_path) as serving:
        told = {name: (one.url, one.notify) for name, one in serving.items()}
    assert told == {
        "postmark": (mail, "http://127.0.0.1:9/api/v1/notifications/email-events"),
        "solapi": (sms, ""),
    }


@pytest.mark.parametrize(("debug", "says"), [(False, "set DEBUG=1"), (True, "set STAND_INS=1")])
def test_the_command_says_what_it_needs(debug, says, settings, tmp_path):
    settings.DEBUG, settings.VAR_DIR = debug, tmp_path
    configured(settings, sandbox={})
    with pytest.raises(CommandError, match=says):
        call_command("standins")


def test_what_a_gateway_lacks_is_found(settings):
    configured(settings, stripe={"secret_key": "sk_live_x"}, toss={}, sandbox={})
    assert [(one.id, one.msg) for one in check_gateways()] == [
        ("shop.E003", "The payment gateway STRIPE lacks GATEWAY_STRIPE_WEBHOOK_SECRET."),
        ("shop.E003", "The payment gateway TOSS lacks GATEWAY_TOSS_SECRET_KEY."),
    ]
    found = {one.what: one for one in doctor.examine() if one.what.startswith("gateway")}
    assert {what: (one.well, one.detail) for what, one in found.items()} == {
        "gateway STRIPE": (False, "lacks GATEWAY_STRIPE_WEBHOOK_SECRET"),
        "gateway TOSS": (False, "lacks GATEWAY_TOSS_SECRET_KEY"),
    }


def test_an_option_that_is_no_number_is_found(settings):
    configured(settings, toss={"secret_key": "live_sk_x", "concurrency": "many"})
    assert [one.id for one in check_gateways()] == ["shop.E004"]


def test_keys_for_tests_and_stand_ins_are_warned_of(settings):
    configured(settings, toss=STAND_IN_OPTIONS["toss"] | {"url": "http://127.0.0.1:9"}, sandbox={})
    assert [one.id for one in check_gateway_keys()] == ["shop.W003", "shop.W004"]
    configured(settings, toss={"secret_key": "live_sk_x"})
    assert check_gateway_keys() == []


def test_the_doctor_says_whether_a_provider_can_be_reached(here, tmp_path):
    def well() -> bool | None:
        return next(one.well for one in doctor.examine() if one.what == "gateway STRIPE")

    assert well() is False
    with stand_ins(Path(tmp_path)):
        assert well() is True


def test_every_adapter_has_a_stand_in_that_knows_its_keys():
    for name, adapter in ADAPTERS.items():
        assert set(adapter.wants) <= set(STAND_IN_OPTIONS.get(name, {}))

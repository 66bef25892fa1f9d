"""`manage.py check`: an implementation that is not what its contract says is found before anybody calls it."""

from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

import pytest

from shop.checks import (
    check_fulfilment,
    check_offers,
    check_privacy,
    check_retention,
    check_returns,
    differences,
    undocumented_errors,
)
from shop.contracts.errors import ContractError


class TeaService(Protocol):
    def get_tea(self, names: Collection[str], *, strong: bool = True) -> dict[str, int]: ...

    def close(self) -> None: ...


class UnknownTea(ContractError):
    """There is no such tea."""

    code = "X999"


class AsPromised:
    def get_tea(self, names: Collection[str], *, strong: bool = True) -> dict[str, int]:
        return dict.fromkeys(names, int(strong))

    def close(self) -> None: ...

    def and_more(self) -> None:
        """What the contract does not know is nobody's business."""


class Missing:
    def get_tea(self, names: Collection[str], *, strong: bool = True) -> dict[str, int]:
        return {}

    close = None


class OtherName(AsPromised):
    def get_tea(self, teas: Collection[str], *, strong: bool = True) -> dict[str, int]:  # type: ignore[override]
        return {}


class OtherKind(AsPromised):
    def get_tea(self, names: Collection[str], strong: bool = True) -> dict[str, int]:
        return {}


class OtherDefault(AsPromised):
    def get_tea(self, names: Collection[str], *, strong: bool = False) -> dict[str, int]:
        return {}


class NoDefault(AsPromised):
    def get_tea(self, names: Collection[str], *, strong: bool) -> dict[str, int]:  # type: ignore[override]
        return {}


class OtherType(AsPromised):
    def get_tea(self, names: list[str], *, strong: bool = True) -> dict[str, int]:  # type: ignore[override]
        return {}


class NoType(AsPromised):
    def get_tea(self, names, *, strong: bool = True) -> dict[str, int]:
        return {}


class OneMore(AsPromised):
    def get_tea(self, names: Collection[str], *, strong: bool = True, hot: bool = True) -> dict[str, int]:
        return {}


class OneLess(AsPromised):
    def get_tea(self, names: Collection[str]) -> dict[str, int]:  # type: ignore[override]
        return {}


class OtherReturn(AsPromised):
    def get_tea(self, names: Collection[str], *, strong: bool = True) -> dict[str, str]:  # type: ignore[override]
        return {}


NAMES, STRONG = "`names: collections.abc.Collection[str]`", "`strong: bool = True` (keyword-only)"
WEAK, REQUIRED = STRONG.replace("True", "False"), STRONG.replace(" = True", "")


@pytest.mark.parametrize(
    ("implementation", "id", "said"),
    [
        (Missing, "E001", "Missing.close is missing; TeaService promises it."),
        (OtherName, "E002", f"TeaService says {NAMES}, OtherName.get_tea has `teas: collections.abc.Collection[str]`."),
        (OtherKind, "E002", f"TeaService says {STRONG}, OtherKind.get_tea has `strong: bool = True`."),
        (
            OtherDefault,
            "E002",
            f"TeaService says {STRONG}, OtherDefault.get_tea has {WEAK}.",
        ),
        (NoDefault, "E002", f"TeaService says {STRONG}, NoDefault.get_tea has {REQUIRED}."),
        (OtherType, "E002", f"TeaService says {NAMES}, OtherType.get_tea has `names: list[str]`."),
        (NoType, "E002", f"TeaService says {NAMES}, NoType.get_tea has `names`."),
        (
            OneMore,
            "E002",
            "TeaService says no more parameters, OneMore.get_tea has `hot: bool = True` (keyword-only).",
        ),
        (OneLess, "E002", f"TeaService says {STRONG}, OneLess.get_tea has no more parameters."),
        (
            OtherReturn,
            "E003",
            "TeaService says that get_tea returns dict[str, int], OtherReturn.get_tea returns dict[str, str].",
        ),
    ],
)
def test_each_way_of_breaking_a_promise_is_found(implementation: type, id: str, said: str):
    assert [(one.id, one.msg) for one in differences(TeaService, implementation)] == [(f"contracts.{id}", said)]


def test_a_promise_that_is_kept_is_not_found_fault_with():
    assert list(differences(TeaService, AsPromised)) == []


def test_an_error_needs_a_code_that_the_api_knows():
    assert [(one.id, one.msg) for one in undocumented_errors(TeaService)] == [
        ("contracts.E004", "UnknownTea of TeaService has the code X999, which is not in shop/api/error_codes.py.")
    ]


def test_what_the_services_offer_is_what_the_contracts_say(monkeypatch: pytest.MonkeyPatch):
    assert check_offers() == []

    from catalog.services import LocalCatalog

    def get_products(self: Any, ids: Any) -> Any: ...

    monkeypatch.setattr(LocalCatalog, "get_products", get_products)
    assert {one.id for one in check_offers()} == {"contracts.E002", "contracts.E003"}


def test_the_checks_run_with_manage_py_check():
    from django.core.checks.registry import registry

    assert check_offers in registry.get_checks()


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("retention", "deadline", "found"),
    [(30 * DAY, 900, []), (DAY, 900, []), (timedelta(0), 900, ["shop.E001"]), (DAY, 86_400, ["shop.E001"])],
)
def test_messages_are_kept_longer_than_any_order_is_open(
    settings: Any, retention: timedelta, deadline: float, found: list[str]
):
    settings.SAGAS = replace(settings.SAGAS, retention=retention)
    settings.ORDER_DEADLINE = deadline

    assert [message.id for message in check_retention()] == found


@pytest.mark.parametrize(("after", "found"), [(30 * DAY, []), (31 * DAY, []), (29 * DAY, ["shop.E002"])])
def test_nothing_is_forgotten_before_the_messages_that_repeat_it(settings: Any, after: timedelta, found: list[str]):
    settings.SAGAS = replace(settings.SAGAS, retention=30 * DAY)
    settings.PRIVACY_AFTER = after

    assert [message.id for message in check_privacy()] == found


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("RETURN_WITHIN", timedelta(0), []),
        ("RETURN_WITHIN", -DAY, ["RETURN_WITHIN is a number of days, 0 or more."]),
        ("RETURN_ARRIVES_WITHIN", timedelta(0), ["RETURN_ARRIVES_WITHIN is a number of days, 1 or more."]),
        ("RETURN_APPROVAL", "orders.returns.rules.approve_at_once", []),
        ("RETURN_APPROVAL", "orders.returns.rules.keep_nothing", ["RETURN_APPROVAL names no rule, orders.returns.rul"]),
        ("RETURN_KEEPS", "yours.shipping", ["RETURN_KEEPS names no rule, yours.shipping: No module named 'yours'."]),
        (
            "RETURN_KEEPS",
            "orders.returns.rules.VOID",
            ["RETURN_KEEPS names no rule, orders.returns.rules.VOID: Mod"],
        ),
        ("RETURN_KEEPS", "shop.money.LARGEST", ["RETURN_KEEPS names no rule, shop.money.LARGEST: 9007199254740991 is"]),
    ],
)
def test_the_owners_settings_about_returns_are_checked(settings: Any, name: str, value: Any, found: list[str]):
    setattr(settings, name, value)
    said = [message.msg for message in check_returns()]
    assert [message[: len(start)] for message, start in zip(said, found, strict=True)] == found


@pytest.mark.parametrize(
    "path", ["yours.rule", "inventory.fulfilment.no_rule", "inventory.fulfilment.MOST_TRIED", "math.sin"]
)
def test_a_rule_of_fulfilment_that_is_none(settings: Any, path: str):
    assert check_fulfilment() == []
    settings.FULFILMENT_RULE = path
    assert [(one.id, one.msg.partition(":")[0]) for one in check_fulfilment()] == [
        ("shop.E009", f"FULFILMENT_RULE names no rule, {path}")
    ]

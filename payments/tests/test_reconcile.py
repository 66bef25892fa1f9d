"""`manage.py reconcile` finds each difference between a provider's books and our ledger, and nothing else."""

import json
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.models import F
from django.test.utils import CaptureQueriesContext

from payments.gateways import Kind as GatewayKind
from payments.gateways import StatementLine
from payments.models import (
    GatewayLedger,
    Payment,
    PaymentOperation,
    Reconciliation,
    ReconciliationDifference,
    StatementEntry,
)
from payments.reconciliation import runs
from payments.tasks import charge_payment, refund_payment
from payments.tests.saga import cancelled, name, reserved, run
from shop.operations.gauges import _ask_database, _families

pytestmark = pytest.mark.django_db(databases=["payments"])

NAME, PRICE = "TOSS_PAYMENTS", 3_500_000
DAY = date(2026, 3, 14)
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 15, tzinfo=UTC)


def reconciled(*arguments: str, day: date = DAY) -> dict[str, Any]:
    """What the command finds; its exit code must say whether that is a difference."""
    printed = StringIO()
    code: Any = 0
    try:
        call_command("reconcile", "--gateway", NAME, "--day", str(day), "--json", *arguments, stdout=printed)
    except SystemExit as ended:
        code = ended.code
    found: dict[str, Any] = json.loads(printed.getvalue())
    assert code == (1 if found["differences"] else 0)
    assert not StatementEntry.objects.exists()
    return found


def differences(*arguments: str, day: date = DAY) -> list[tuple]:
    found = reconciled(*arguments, day=day)["differences"]
    return [(one["kind"], one["movement"], one["orderId"], one["ours"], one["theirs"]) for one in found]


def paid(*orders: int, at: datetime = NOON, settled: datetime | None = None) -> None:
    run(charge_payment, *(reserved(order_id) for order_id in orders))
    moved(orders, "CHARGE", at, settled)


def refunded(*orders: int, at: datetime = NOON, settled: datetime | None = None) -> None:
    run(refund_payment, *(cancelled(order_id) for order_id in orders))
    moved(orders, "REFUND", at, settled)


def moved(orders: tuple[int, ...], kind: str, at: datetime, settled: datetime | None) -> None:
    """Have it happened then: at the gateway, and, as far as we knew, until `settled`."""
    mine = PaymentOperation.objects.filter(payment__order_id__in=orders, kind=kind)
    mine.update(at=at, settled_at=settled or at)
    GatewayLedger.objects.filter(key__in=mine.values_list("key", flat=True)).update(at=at)


def theirs(order_id: int, kind: str = "CHARGE") -> Any:
    """What the gateway has booked of an order."""
    return GatewayLedger.objects.filter(payment=name(order_id), kind=kind)


def settlement(folder: Path, *lines: str, header: str = "reference,kind,amount,currency,at") -> str:
    path = folder / "settlement.csv"
    path.write_text("\n".join([header, *lines, ""]), encoding="utf-8-sig")
    return str(path)


# --- What is found ---------------------------------------------------------------------------------------------------
def test_books_that_agree():
    paid(1, 2, 3)
    refunded(2)
    found = reconciled()
    assert (found["movements"], found["entries"], found["differences"]) == (4, 4, [])


def test_each_planted_difference_is_found_and_no_other():
    paid(*range(1, 11))
    refunded(4, 5, 6, 7)
    theirs(1).delete()  # ours is missing there
    PaymentOperation.objects.filter(payment__order_id=2).delete()  # theirs is missing here, and the payment is known
    theirs(3).update(amount=PRICE + 1)
    theirs(4, "REFUND").delete()
    PaymentOperation.objects.filter(payment__order_id=5, kind="REFUND").update(outcome="OPEN", settled_at=None)
    theirs(6, "REFUND").update(amount=PRICE - 1)
    theirs(7, "REFUND").update(kind="CHARGE")  # taken twice instead of given back
    GatewayLedger.objects.create(
        gateway=NAME, payment="theirs-9", key="k", kind="CHARGE", amount=5, currency="KRW", at=NOON
    )
    theirs(8).update(currency="USD")
    assert sorted(differences(), key=str) == sorted(
        [
            ("MISSING_THERE", "CAPTURE", 1, PRICE, None),
            ("MISSING_HERE", "CAPTURE", 2, None, PRICE),
            ("OTHER_AMOUNT", "CAPTURE", 3, PRICE, PRICE + 1),
            ("MISSING_THERE", "REFUND", 4, PRICE, None),
            ("MISSING_HERE", "REFUND", 5, None, PRICE),
            ("OTHER_AMOUNT", "REFUND", 6, PRICE, PRICE - 1),
            ("MISSING_HERE", "CAPTURE", 7, None, PRICE),
            ("MISSING_THERE", "REFUND", 7, PRICE, None),
            ("OTHER_AMOUNT", "CAPTURE", 8, PRICE, PRICE),
            ("MISSING_HERE", "CAPTURE", None, None, 5),
        ],
        key=str,
    )
    details = dict(ReconciliationDifference.objects.exclude(detail="").values_list("order_id", "detail"))
    assert details == {5: "our entry is open", 8: "ours is in KRW"}
    kept = Reconciliation.objects.get()
    assert (kept.missing_here, kept.missing_there, kept.other_amount, kept.entries) == (4, 3, 3, 12)


def test_movements_of_other_days_and_gateways_are_not_compared():
    paid(1, at=NOON - timedelta(days=1))
    paid(2, at=NOON + timedelta(days=1))
    run(charge_payment, reserved(3, gateway="KAKAO_PAY"))
    moved((3,), "CHARGE", NOON, None)
    paid(4)
    assert (reconciled()["movements"], differences()) == (1, [])


def test_two_refunds_of_the_same_amount_are_two():
    paid(1)
    payment = Payment.objects.get()
    for number, at in ((1, NOON - timedelta(days=1)), (2, NOON), (3, NOON)):
        part = {"kind": "REFUND", "key": f"part-{number}", "amount": 5, "currency": "KRW", "at": at}
        GatewayLedger.objects.create(gateway=NAME, payment=name(), **part)
        if number < 3:
            PaymentOperation.objects.create(payment=payment, outcome="SUCCEEDED", settled_at=at, **part)
    assert differences() == [("MISSING_HERE", "REFUND", 1, None, 5)]


# --- Near midnight ---------------------------------------------------------------------------------------------------
def test_what_the_provider_books_on_the_other_day_is_missing_on_neither():
    paid(1, at=MIDNIGHT - timedelta(minutes=3), settled=MIDNIGHT - timedelta(minutes=2))
    theirs(1).update(at=MIDNIGHT + timedelta(minutes=2))
    found = reconciled()
    assert (found["movements"], found["entries"], found["onAnotherDay"], found["differences"]) == (0, 1, 1, [])
    found = reconciled(day=DAY + timedelta(days=1))
    assert (found["movements"], found["entries"], found["onAnotherDay"], found["differences"]) == (1, 0, 0, [])


def test_what_we_knew_of_only_on_the_next_day_is_missing_on_neither():
    paid(1, at=MIDNIGHT - timedelta(hours=2), settled=MIDNIGHT + timedelta(hours=3))
    theirs(1).update(at=MIDNIGHT - timedelta(hours=1))
    assert differences() == []
    found = reconciled(day=DAY + timedelta(days=1))
    assert (found["onAnotherDay"], found["differences"]) == (1, [])


def test_near_midnight_what_the_provider_does_not_have_is_missing_all_the_same():
    paid(1, 2, at=MIDNIGHT - timedelta(minutes=3))
    refunded(2, at=MIDNIGHT - timedelta(minutes=2))
    theirs(1).delete()
    theirs(2, "REFUND").delete()
    assert sorted(differences()) == [
        ("MISSING_THERE", "CAPTURE", 1, PRICE, None), ("MISSING_THERE", "REFUND", 2, PRICE, None)
    ]  # fmt: skip


def test_the_day_is_the_providers(settings: Any):
    settings.TIME_ZONE = "Asia/Seoul"  # the sandbox's
    paid(1, at=datetime(2026, 3, 13, 16, tzinfo=UTC))
    paid(2, at=datetime(2026, 3, 14, 16, tzinfo=UTC))
    theirs(2).delete()
    assert (reconciled()["entries"], differences()) == (1, [])
    assert differences(day=DAY + timedelta(days=1)) == [("MISSING_THERE", "CAPTURE", 2, PRICE, None)]


# --- By file ---------------------------------------------------------------------------------------------------------
def test_a_settlement_file(tmp_path: Path):
    paid(1, 2, 3, 4)
    refunded(4)
    path = settlement(
        tmp_path,
        f"sandbox-{name(1)},CAPTURE,3500000,KRW,2026-03-14T12:00:00+00:00",
        f"sandbox-{name(2)},capture,3499999,krw,2026-03-14T12:00:00",
        f"sandbox-{name(4)},CAPTURE,3500000,KRW,2026-03-14T12:00:00Z",
        f"sandbox-{name(4)},REFUND,3500000,KRW,2026-03-14T21:00:00+09:00",
        "unknown,REFUND,7,KRW,2026-03-14T12:00:00Z",
        "of-another-day,CAPTURE,7,KRW,2026-03-15T00:00:00Z",
    )
    assert sorted(differences("--file", path), key=str) == [
        ("MISSING_HERE", "REFUND", None, None, 7),
        ("MISSING_THERE", "CAPTURE", 3, PRICE, None),
        ("OTHER_AMOUNT", "CAPTURE", 2, PRICE, PRICE - 1),
    ]
    assert Reconciliation.objects.get().source == path


def test_a_file_that_names_keys_pairs_by_them(tmp_path: Path):
    paid(1)
    payment = Payment.objects.get()
    for key, amount in (("a", 5), ("b", 6)):
        PaymentOperation.objects.create(
            payment=payment, kind="REFUND", key=key, amount=amount, currency="KRW", outcome="SUCCEEDED", at=NOON,
            settled_at=NOON,
        )  # fmt: skip
    path = settlement(
        tmp_path,
        f",CAPTURE,3500000,KRW,2026-03-14T12:00:00Z,{name()},",
        f",REFUND,6,KRW,2026-03-14T12:00:00Z,{name()},a",
        f",REFUND,6,KRW,2026-03-14T12:00:00Z,{name()},b",
        header="reference,kind,amount,currency,at,payment,key",
    )
    assert differences("--file", path) == [("OTHER_AMOUNT", "REFUND", 1, 5, 6)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("r,CAPTURE,1.5,KRW,2026-03-14T12:00:00Z", "line 2: invalid literal"),
        ("r,CAPTURE,0,KRW,2026-03-14T12:00:00Z", "line 2: an amount of 0 is not possible"),
        ("r,CAPTURE,99999999999999999999,KRW,2026-03-14T12:00:00Z", "is not possible"),
        ("r,GIFT,1,KRW,2026-03-14T12:00:00Z", "'GIFT' is not a valid Kind"),
        ("r,CAPTURE,1,KRW,yesterday", "Invalid isoformat string: 'yesterday'"),
        ("r,CAPTURE,1,WON!,2026-03-14T12:00:00Z", "currency of three letters"),
        (",CAPTURE,1,KRW,2026-03-14T12:00:00Z", "and a reference"),
        ("r,CAPTURE", "line 2: it has too few values"),
        ('"r', "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, line: str, said: str):
    with pytest.raises(CommandError, match=said):
        differences("--file", settlement(tmp_path, line))
    assert not Reconciliation.objects.exists()


def test_a_file_without_columns_or_that_is_not_there(tmp_path: Path):
    with pytest.raises(CommandError, match=r"has no column kind, at\. It needs reference, kind"):
        differences("--file", settlement(tmp_path, header="reference,amount,currency"))
    with pytest.raises(CommandError, match=r"cannot be read: .*No such file"):
        differences("--file", str(tmp_path / "nowhere.csv"))
    (tmp_path / "latin").write_bytes(b"reference,kind,amount,currency,at\n\xff,")
    with pytest.raises(CommandError, match="cannot be read"):
        differences("--file", str(tmp_path / "latin"))


# --- How it is run ---------------------------------------------------------------------------------------------------
def test_a_second_run_takes_the_place_of_the_first():
    paid(1)
    theirs(1).delete()
    assert len(differences()) == len(differences()) == 1
    assert Reconciliation.objects.count() == ReconciliationDifference.objects.count() == 1
    GatewayLedger.objects.create(
        gateway=NAME, payment=name(), key=name(), kind="CHARGE", amount=PRICE, currency="KRW", at=NOON
    )
    assert differences() == []
    assert (Reconciliation.objects.count(), ReconciliationDifference.objects.count()) == (1, 0)
    assert differences(day=DAY + timedelta(days=1)) == []
    assert Reconciliation.objects.count() == 2


def test_what_a_run_that_died_has_left_is_deleted():
    for hours in (1, 30):
        dead = Reconciliation.objects.create(gateway=NAME, day=DAY - timedelta(days=9))
        Reconciliation.objects.filter(pk=dead.pk).update(started_at=F("started_at") - timedelta(hours=hours))
        StatementEntry.objects.create(
            reconciliation=dead, reference="r", kind="CAPTURE", amount=1, currency="KRW", at=NOON
        )
    runs.reconcile(NAME, DAY, UTC, [])
    assert (Reconciliation.objects.count(), StatementEntry.objects.count()) == (2, 1)


@pytest.mark.django_db(databases=["payments"], transaction=True)  # references are checked at its end
def test_a_run_that_another_one_overtakes_says_so():
    def overtaken():
        runs.reconcile(NAME, DAY, UTC, [])
        yield from ()

    with pytest.raises(runs.Superseded):
        runs.reconcile(NAME, DAY, UTC, overtaken())
    assert Reconciliation.objects.get().ended_at is not None

    def overtaken_with_a_line():
        yield from overtaken()
        yield StatementLine("r", "", GatewayKind.CAPTURE, 1, "KRW", NOON)

    with pytest.raises(runs.Superseded):
        runs.reconcile(NAME, DAY, UTC, overtaken_with_a_line())
    assert Reconciliation.objects.count() == 1


def test_a_hundred_payments_take_as_many_statements_as_one():
    def statements(orders: range) -> int:
        paid(*orders)
        refunded(*orders[::2])
        theirs(orders[0], "REFUND").delete()
        with CaptureQueriesContext(connections["payments"]) as captured:
            assert len(differences()) == 1
        GatewayLedger.objects.all().delete()
        Payment.objects.all().delete()
        return len(captured)

    reconciled()
    assert statements(range(1, 2)) == statements(range(101, 201))


def test_portions_do_not_change_what_is_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runs, "PORTION", 2)
    paid(*range(1, 10))
    refunded(*range(1, 8))
    for order_id in (2, 5, 7):
        theirs(order_id, "REFUND").delete()
    theirs(9).delete()
    assert sorted(order_id for _, _, order_id, _, _ in differences()) == [2, 5, 7, 9]


def test_the_table():
    paid(1)
    theirs(1).delete()
    GatewayLedger.objects.create(
        gateway=NAME, payment="[red]", key="k", kind="CHARGE", amount=5, currency="KRW", at=NOON
    )
    printed = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile", "--gateway", NAME, "--day", str(DAY), stdout=printed)
    assert ended.value.code == 1
    said = printed.getvalue()
    assert "sandbox-[red]" in said
    assert "₩3,500,000" in said
    assert "TOSS_PAYMENTS on 2026-03-14: 1 movements there, 1 entries here, 2 differences." in said


def test_without_a_day_it_is_yesterday():
    call_command("reconcile", "--gateway", NAME, stdout=StringIO())
    assert Reconciliation.objects.get().day == datetime.now(UTC).date() - timedelta(days=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--gateway", "NOBODY"], "no payment gateway 'NOBODY'; there are"),
        (["--gateway", NAME, "--day", "14.3."], "'14.3.' is not a day: give it as YYYY-MM-DD"),
        (["--gateway", NAME, "--day", "2999-01-01"], "2999-01-01 has not begun at TOSS_PAYMENTS"),
        ([], "--gateway"),
    ],
)
def test_bad_arguments(arguments: list[str], said: str):
    with pytest.raises(CommandError, match=said):
        call_command("reconcile", *arguments)


# --- Where it is seen ------------------------------------------------------------------------------------------------
@pytest.mark.django_db(databases=["payments"], transaction=True)  # the gauges have statements of their own
def test_the_newest_run_of_each_gateway_is_a_metric():
    paid(1, 2)
    theirs(1).delete()
    theirs(2).update(amount=1)
    differences(day=DAY - timedelta(days=1))
    assert gauges("reconciliation_differences") == [0, 0, 0]
    differences()
    runs.reconcile("KAKAO_PAY", DAY, UTC, [])
    Reconciliation.objects.create(gateway="NAVER_PAY", day=DAY)  # under way
    assert gauges("reconciliation_differences") == [0, 0, 0, 0, 1, 1]
    ended = Reconciliation.objects.filter(day=DAY, ended_at__isnull=False).order_by("gateway")
    assert gauges("reconciliation_timestamp_seconds") == [
        pytest.approx(one.ended_at.timestamp()) for one in ended if one.ended_at
    ]


def gauges(name: str) -> list[float]:
    found = _families()
    _ask_database("payments", found)
    return [sample.value for sample in found[name].samples]

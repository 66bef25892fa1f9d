"""`manage.py loadtest` as a whole: against a shop that does what it is told, and once on servers of its own."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from rich.console import Console

from lab.loadtest.compare import NotComparable, compare, differences, read
from lab.loadtest.report import page
from lab.loadtest.tables import show
from tests.support.fakeshop import PASSWORD, FakeShop, open_for_business

COMMAND = [sys.executable, str(settings.BASE_DIR / "manage.py"), "loadtest"]


@pytest.fixture
def shop():
    with open_for_business() as shop:
        yield shop


@pytest.fixture
def load(shop: FakeShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Plays a profile against the fake shop; the exit code and the results."""
    monkeypatch.setenv("SEED_PASSWORD", PASSWORD)
    monkeypatch.setattr("lab.loadtest.inside.same_shop", lambda evidence: False)

    def play(*arguments: str) -> tuple[int, dict[str, Any]]:
        file = tmp_path / "results.json"
        with pytest.raises(SystemExit) as ended:
            call_command("loadtest", *arguments, f"--url={shop.url}", f"--json={file}")
        return int(ended.value.code or 0), json.loads(file.read_text())

    return play


def findings(found: dict[str, Any]) -> dict[str, bool | None]:
    return {one["what"]: one["good"] for one in found["findings"]}


def detail(found: dict[str, Any], what: str) -> str:
    return next(one["detail"] for one in found["findings"] if one["what"] == what)


# --- Against a shop ---------------------------------------------------------------------------------------------------
def test_what_a_load_finds(shop: FakeShop, load: Any):
    code, found = load("steady", "--rate=40", "--seconds=1")
    assert code == 0
    assert found["orders"] == 40
    assert found["answers"] == {"202": 40}
    assert found["endings"] == {"COMPLETED": 40}
    assert {mark: found["latency"][mark]["count"] for mark in found["latency"]} == {
        "answered": 40,
        "paid": 40,
        "completed": 40,
        "cancelled": 0,
    }
    assert findings(found) == {"every accepted order has ended": True, "audit": None}
    assert sorted(shop.off_sale) == sorted(shop.stock)


def test_orders_are_not_looked_at_so_often_that_it_is_a_load(shop: FakeShop, load: Any):
    load("steady", "--rate=60", "--seconds=2")
    began, ended = shop.sent[20], shop.sent[-1]
    assert 1 <= len([at for at in shop.looked_at if began <= at <= ended]) <= 6 * (ended - began) + 1


def test_orders_are_sent_when_they_are_due_though_nobody_answers(shop: FakeShop, load: Any):
    """A shop that stands still for a second is not asked less often, and all who come meanwhile wait."""
    resumed = threading.Event()
    first = 20 + 10  # after the warm-up

    def stand_still(number: int) -> None:
        if number == first:
            threading.Timer(1.0, resumed.set).start()
        if number >= first:
            resumed.wait()

    shop.before_answering = stand_still
    code, found = load("steady", "--rate=30", "--seconds=1")
    assert code == 0
    came = shop.sent[20:]
    assert came[-1] - came[0] < 1.5
    assert found["latency"]["answered"]["max"] >= 0.9
    assert found["latency"]["answered"]["p50"] >= 0.2  # those who came second, third, … waited, too


def test_a_shop_whose_clock_is_wrong(shop: FakeShop, load: Any):
    shop.clock_ahead = 100.0
    _, found = load("steady", "--rate=40", "--seconds=1")
    assert found["clockAhead"] == pytest.approx(100, abs=0.5)
    assert found["latency"]["paid"]["max"] < 5


def test_who_orders_for_longer_than_a_token_is_good_signs_in_again(shop: FakeShop, load: Any):
    shop.token_seconds = 4.0
    _, found = load("steady", "--rate=10", "--seconds=6")
    assert found["answers"] == {"202": 60}


def test_a_flash_sale_that_goes_well(load: Any):
    code, found = load("flash-sale", "--buyers=30", "--items=4")
    assert code == 0
    assert found["endings"] == {"CANCELLED I002": 26, "COMPLETED": 4}
    assert findings(found) == {
        "every accepted order has ended": True,
        "4 buyers got one": True,
        "26 buyers refused for insufficient stock": True,
        "the stock is 0": True,
        "no lock is left": None,
        "audit": None,
    }


def test_a_flash_sale_in_which_one_is_sold_twice(shop: FakeShop, load: Any):
    shop.oversells = True
    code, found = load("flash-sale", "--buyers=3", "--items=1")
    assert code == 1
    assert [what for what, good in findings(found).items() if good is False] == [
        "1 buyer got one",
        "2 buyers refused for insufficient stock",
        "the stock is 0",
    ]


def test_an_order_that_is_lost(shop: FakeShop, load: Any):
    def lose(number: int) -> None:
        if number == 25:
            del shop.orders[26]

    shop.before_answering = lose
    code, found = load("steady", "--rate=20", "--seconds=1")
    assert code == 1
    assert detail(found, "every accepted order has ended") == "1 are not in the list of orders"


def test_an_order_that_never_ends(shop: FakeShop, load: Any):
    shop.before_answering = lambda number: shop.orders[number + 1].update(status="PENDING") if number == 25 else None
    code, found = load("steady", "--rate=20", "--seconds=1", "--patience=0")
    assert code == 1
    assert detail(found, "every accepted order has ended") == "1 are still open, 26 for one"


def test_throttled(shop: FakeShop, load: Any):
    shop.refuses_with = lambda number: 429 if number >= 30 else 0
    code, found = load("steady", "--rate=20", "--seconds=1")
    assert code == 1
    assert found["answers"] == {"202": 10, "429 C007": 10}
    told = detail(found, "nobody was throttled")
    assert told.startswith("10 of 20 orders were.")
    assert "ORDERS_PER_MINUTE=0" in told


def test_internal_errors_are_told_and_other_outages_are_answers(shop: FakeShop, load: Any):
    shop.refuses_with = lambda number: {25: 500, 26: 503}.get(number, 0)
    code, found = load("steady", "--rate=20", "--seconds=1")
    assert code == 1
    assert found["answers"] == {"202": 18, "500 C001": 1, "503": 1}
    assert detail(found, "no answer is an internal error") == "1 were"


def test_a_ramp_ends_at_the_knee(shop: FakeShop, load: Any):
    """From the fortieth order on the shop refuses: in the second step."""
    shop.refuses_with = lambda number: 503 if number >= 20 + 40 else 0
    code, found = load("ramp", "--rate=30", "--seconds=1", "--paid-limit=30", "--answer-limit=9")
    assert code == 0
    assert [(one["rate"], one["whyNot"]) for one in found["steps"]] == [(30, ""), (42, "32 of 42 not accepted")]
    assert found["knee"] == 30


def test_ctrl_c_ends_a_load_and_shows_what_there_is(shop: FakeShop, tmp_path: Path):
    file = tmp_path / "results.json"
    process = subprocess.Popen(
        [*COMMAND, "steady", "--rate=20", "--seconds=600", f"--url={shop.url}", f"--json={file}"],
        env=os.environ | {"SEED_PASSWORD": PASSWORD},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    give_up_at = time.monotonic() + 60
    while len(shop.sent) < 30 and time.monotonic() < give_up_at:
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "(interrupted)" in told
    found = json.loads(file.read_text())
    assert found["interrupted"]
    assert 10 <= found["orders"] == sum(found["answers"].values()) < 2000
    assert found["endings"] == {"COMPLETED": found["orders"]}


# --- What cannot be loaded --------------------------------------------------------------------------------------------
def refusal(*arguments: str) -> str:
    with pytest.raises(CommandError) as refused:
        call_command("loadtest", "steady", "--rate=5", "--seconds=1", *arguments)
    assert refused.value.returncode == 2
    return str(refused.value)


def test_only_this_machine_is_put_under_load(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEED_PASSWORD", PASSWORD)
    assert "192.0.2.1 is not this machine" in refusal("--url=http://192.0.2.1")
    assert "--remote" in refusal("--url=http://[2001:db8::1]:8080")


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://localhost", "http://", "http://me:secret@localhost"])
def test_what_is_no_url(url: str):
    assert refusal(f"--url={url}") == f"{url} is not the URL of a shop, as http://127.0.0.1:8080 is one."


def test_a_shop_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEED_PASSWORD", PASSWORD)
    assert refusal("--url=http://127.0.0.1:1").startswith("http://127.0.0.1:1 does not answer (connection refused)")


def test_a_wrong_password(shop: FakeShop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEED_PASSWORD", "wrong")
    told = refusal(f"--url={shop.url}")
    assert "does not let admin@example.com in" in told
    assert "SEED_PASSWORD" in told


def test_no_password(shop: FakeShop, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path):
    monkeypatch.delenv("SEED_PASSWORD", raising=False)
    settings.VAR_DIR = tmp_path
    assert "SEED_PASSWORD, which is not set" in refusal(f"--url={shop.url}")


def test_what_is_no_shop(monkeypatch: pytest.MonkeyPatch, shop: FakeShop):
    monkeypatch.setenv("SEED_PASSWORD", PASSWORD)
    monkeypatch.setattr(shop, "answer", lambda *_: (200, "hello"))
    assert "is no shop" in refusal(f"--url={shop.url}")


def test_a_shop_that_refuses_every_order(shop: FakeShop, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SEED_PASSWORD", PASSWORD)
    shop.refuses_with = lambda number: 429
    told = refusal(f"--url={shop.url}")
    assert told.startswith("The shop refuses orders: 429 C007.")
    assert "ORDERS_PER_MINUTE" in told
    assert sorted(shop.off_sale) == sorted(shop.stock)


# --- Reports ----------------------------------------------------------------------------------------------------------
def test_the_page_needs_nothing_else_and_has_a_plot_for_everything(load: Any):
    _, found = load("ramp", "--rate=20", "--to=30", "--seconds=1", "--paid-limit=30", "--answer-limit=9")
    text = page(found)
    assert text.count("<svg") == 1 + 5  # by rate; over time, without the memory of processes that are not ours
    assert "not reached" in text
    assert not [part for part in ("src=", "href=", "url(", "<script") if part in text]


def test_what_the_shop_says_is_no_html(load: Any):
    _, found = load("steady", "--rate=5", "--seconds=1")
    found["answers"] = {"<b>": 1}
    assert "<b>:" not in page(found).replace("<b>5", "")
    assert "&lt;b&gt;" in page(found)


def test_two_runs_beside_each_other(load: Any):
    _, before = load("steady", "--rate=20", "--seconds=1")
    after = json.loads(json.dumps(before))
    before["latency"]["answered"] = {"count": 20, "p50": 0.1, "p95": 0.2, "p99": 0.2, "max": 0.3}
    after["latency"]["answered"] = {"count": 20, "p50": 0.05, "p95": 0.21, "p99": 0.4, "max": 0.5}
    rows = {row.what: row for row in compare(before, after)}
    assert (rows["answered p50, ms"].change, rows["answered p50, ms"].better) == ("-50 %", True)
    assert (rows["answered p95, ms"].change, rows["answered p95, ms"].better) == ("+5 %", None)
    assert (rows["answered p99, ms"].change, rows["answered p99, ms"].better) == ("+100 %", False)
    assert "knee, orders per second" not in rows
    assert differences(before, after) == []
    after["options"]["rate"], after["interrupted"] = 30, True
    assert differences(before, after) == ["rate: 20.0, now 30", "the present one was interrupted"]
    assert "rate: 20.0, now 30" in page(after, list(rows.values()), differences(before, after))


def test_two_files_beside_each_other(load: Any, tmp_path: Path, capsys: Any):
    _, found = load("steady", "--rate=20", "--seconds=1")
    earlier, now, report = tmp_path / "earlier.json", tmp_path / "now.json", tmp_path / "both.html"
    earlier.write_text(json.dumps(found))
    found["faults"] = {"step-delay": 2}
    now.write_text(json.dumps(found))
    call_command("loadtest", "compare", str(earlier), str(now), f"--report={report}")
    assert "fault switches" in capsys.readouterr().out
    text = report.read_text()
    assert text.count('<div class="pair">') == 5
    assert text.count("<svg") == 10
    assert "Fault switches were on, and what was measured is theirs, too: step-delay 2." in text
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("loadtest", "compare", str(earlier), "nowhere.json")


def test_switches_that_were_on_are_told(load: Any):
    _, found = load("steady", "--rate=5", "--seconds=1")
    assert found["faults"] == {}
    assert "Fault switches" not in page(found)
    switched_on = found | {"faults": {"gateway-slow": 1.5}}
    assert "Fault switches were on" in page(switched_on)
    for shown, times in ((found, 0), (switched_on, 1)):
        show(Console(file=(printed := StringIO()), width=200), shown)
        assert (
            printed.getvalue().count("Fault switches were on, and what was measured is theirs, too: gateway") == times
        )


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"version": 99, "profile": 1, "options": {}, "latency": 1, "rates": 1}']
)
def test_what_cannot_be_compared(tmp_path: Path, text: str):
    file = tmp_path / "earlier.json"
    with pytest.raises(NotComparable, match="cannot be read"):
        read(file)
    file.write_text(text)
    with pytest.raises(NotComparable, match=r"loadtest|version 99"):
        read(file)


# --- For real ---------------------------------------------------------------------------------------------------------
@pytest.mark.chaos
@pytest.mark.integration
@pytest.mark.soak
def test_a_hundred_buyers_and_one_item(tmp_path: Path):
    file, report = tmp_path / "results.json", tmp_path / "report.html"
    done = subprocess.run(
        [*COMMAND, "flash-sale", "--buyers=100", "--items=1", f"--json={file}", f"--report={report}"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(file.read_text())
    assert found["answers"] == {"202": 100}
    assert found["endings"] == {"CANCELLED I002": 99, "COMPLETED": 1}
    assert set(findings(found).values()) == {True}
    assert {"the stock is 0", "no lock is left", "audit"} < findings(found).keys()
    assert found["audit"]["orders"] == 120  # with those of the warm-up
    assert report.read_text().count("<svg") == 1

"""Fault switches: make something fail on a development machine, and see how the shop copes.

They are set on a page or by `manage.py fault`, and stored where every process can read them: in the cache; in the
embedded mode, in a file. A process reads them at most once a second. Without DEBUG they do not exist: none is read, and
setting one is refused.
"""

import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.core.cache import caches
from django_redis.exceptions import ConnectionInterrupted
from redis.exceptions import RedisError

KEY, UNTIL = "faults", "faults-until"
LOOK_EVERY = 1.0  # seconds
LOOK_AGAIN_AFTER_FAILURE = 10.0  # seconds: waiting for an unavailable cache must not slow every step down
FORGOTTEN_AFTER = 3600  # seconds: a switch that was left on must not puzzle anybody tomorrow
AWAY = (ConnectionInterrupted, RedisError, OSError)

SHARE, SECONDS, SWITCH = "share", "seconds", "switch"


class Poisoned(Exception):
    """The "poison" fault switch has made the step fail with this event. Turn it off, and replay the dead letter."""


class NotInProduction(Exception):
    """There are no fault switches without DEBUG: they are for development machines."""


class NoSuchFault(ValueError):
    """There is no fault switch of this name, or it cannot be set to that."""


@dataclass(frozen=True)
class Fault:
    """A switch: its levels go from 0 (off) to `most`; `en` and `ko` describe the effect."""

    unit: str  # of the level. SHARE: the probability; SECONDS: the delay; SWITCH: 1 is on
    most: float
    en: str
    ko: str


FAULTS: Mapping[str, Fault] = {
    "payment-failures": Fault(
        SHARE,
        1,
        "This share of requests to payment gateways, or of their answers, is lost: such payments stay open and are "
        "asked about again with the same key, and nobody is charged twice.",
        "게이트웨이 요청이나 응답이 이 비율만큼 사라집니다. 결제는 같은 키로 다시 확인되며 이중 청구는 없습니다.",
    ),
    "gateway-slow": Fault(
        SECONDS,
        10,
        "Each call to a gateway takes so much longer: orders wait at INVENTORY_RESERVED and the payments queue grows.",
        "게이트웨이 호출이 이만큼 느려집니다. 주문이 INVENTORY_RESERVED에서 기다리고 결제 큐가 길어집니다.",
    ),
    "gateway-away": Fault(
        SWITCH,
        1,
        "No gateway can be reached: payments stay open until it is back, or until the order's deadline cancels it.",
        "모든 게이트웨이에 연결할 수 없습니다. 결제는 복구되거나 주문 기한이 지나 취소될 때까지 열려 있습니다.",
    ),
    "carrier-refuses": Fault(
        SHARE,
        1,
        "Carriers refuse this share of parcels at hand-over: these orders are refunded, restocked and cancelled.",
        "택배사가 이 비율만큼 인수를 거부합니다. 해당 주문은 환불되고 재고가 돌아오며 취소됩니다.",
    ),
    "step-delay": Fault(
        SECONDS,
        10,
        "Every step starts so much later: good for watching a saga slowly, and queues grow under load.",
        "모든 단계가 이만큼 늦게 시작됩니다. 사가를 천천히 지켜보기 좋고, 부하가 있으면 큐가 길어집니다.",
    ),
    "drop-messages": Fault(
        SHARE,
        1,
        "This share of messages is lost after sending: their orders stand still until they are emitted again, "
        "STALLED_AFTER seconds later (30 unless set).",
        "메시지가 이 비율만큼 사라집니다. 주문은 멈췄다가 STALLED_AFTER초(기본 30초) 뒤 다시 발행됩니다.",
    ),
    "duplicate-messages": Fault(
        SHARE,
        0.5,  # a step that hears an event twice emits twice, so copies multiply along the chain
        "This share of messages arrives twice: each step does its work once, and the timeline marks what came again.",
        "메시지가 이 비율만큼 두 번 도착합니다. 각 단계는 한 번만 처리하고, 타임라인에 중복 도착이 표시됩니다.",
    ),
    "poison": Fault(
        SHARE,
        1,
        "No step can handle this share of events: each becomes a dead letter, its neighbours go on, and its order "
        "stands still until the letter is replayed with the switch off, or the deadline cancels it.",
        "이 비율의 이벤트는 어떤 단계도 처리하지 못합니다. 각각 데드 레터가 되고 나머지는 계속되며, "
        "해당 주문은 스위치를 끄고 다시 보내거나 기한이 지나 취소될 때까지 멈춥니다.",
    ),
}

_known: Mapping[str, float] = {}
_look_at = 0.0  # by time.monotonic()


def level(name: str) -> float:
    """The current level of a switch; 0 is off, as all of them are without DEBUG."""
    return levels().get(name, 0.0) if settings.DEBUG else 0.0


def happens(name: str) -> bool:
    """Draw whether the fault of a SHARE switch occurs this time."""
    return random.random() < level(name)


def pause(name: str) -> None:
    """Sleep for as many seconds as the level of a SECONDS switch says."""
    if seconds := level(name):
        time.sleep(seconds)


def poison(event_ids: Iterable[UUID]) -> None:
    """Raise `Poisoned` if one of these events is poisoned. Its id decides, so a retry fails, too."""
    share = level("poison")
    if share and any((one.int & 0xFFFF) / 0x10000 < share for one in event_ids):
        raise Poisoned(Poisoned.__doc__)


def copies() -> int:
    """How many times to send a message: 1, unless it is to be dropped (0) or duplicated (2)."""
    if not settings.DEBUG:
        return 1
    return 0 if happens("drop-messages") else 2 if happens("duplicate-messages") else 1


def levels() -> Mapping[str, float]:
    """The levels of all switches that are on."""
    global _known, _look_at
    if not settings.DEBUG:
        return {}
    if time.monotonic() >= _look_at:
        try:
            _known, pause_for = caches["faults"].get(KEY) or {}, LOOK_EVERY
        except AWAY:
            _known, pause_for = {}, LOOK_AGAIN_AFTER_FAILURE
        _look_at = time.monotonic() + pause_for
    return _known


def left() -> float:
    """Seconds until the switches that are on go off by themselves; 0 when none is on."""
    try:
        until = caches["faults"].get(UNTIL) if levels() else None
    except AWAY:
        return 0.0
    return max(0.0, (until or 0.0) - time.time())


def turn(name: str, to: float) -> None:
    """Set a switch; 0 turns it off. All that are on stay on for an hour from now. Other processes follow in a second.

    Raises `NotInProduction`, `NoSuchFault`.
    """
    _refuse_in_production()
    fault = FAULTS.get(name)
    if fault is None:
        raise NoSuchFault(f"There is no fault switch {name!r}. There are: {', '.join(FAULTS)}.")
    if not 0 <= to <= fault.most:
        raise NoSuchFault(f"{name} takes {fault.unit} from 0 to {fault.most:g}, not {to:g}.")
    others = {key: value for key, value in (caches["faults"].get(KEY) or {}).items() if key != name}
    _keep(others | ({name: to} if to else {}))


def clear() -> None:
    """Turn all switches off. Raises `NotInProduction`."""
    _refuse_in_production()
    _keep({})


def _keep(switches: Mapping[str, float]) -> None:
    global _look_at
    caches["faults"].set(UNTIL, time.time() + FORGOTTEN_AFTER, FORGOTTEN_AFTER)
    caches["faults"].set(KEY, switches, FORGOTTEN_AFTER)
    _look_at = 0.0


def _refuse_in_production() -> None:
    if not settings.DEBUG:
        raise NotInProduction(NotInProduction.__doc__)

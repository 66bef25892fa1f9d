"""The faults. Each one is injected and returns a proof that it happened; without a proof it raises `NotFired`."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import psutil  # type: ignore[import-untyped]
import psycopg2

from lab.chaos.plan import PlannedFault
from lab.rig.processes import Processes
from lab.rig.servers import HOST, Postgres, RabbitMQ, Redis, listening, until
from sagas.conf import choreography
from sagas.saga import service_of
from shop.saga import ORDER

LULL = 5.0  # seconds to wait for a message before one is made
LONGEST_PAUSE = 8.0  # seconds that a process is stopped with SIGSTOP, or Redis is away


class NotFired(Exception):
    """The fault could not be injected, or not be proved."""


@dataclass
class World:
    """The servers and processes that faults are injected into."""

    postgres: Postgres
    rabbitmq: RabbitMQ
    redis: Redis
    processes: Processes
    order: Callable[[], None] = lambda: None  # has the next order placed now, if any is left


@dataclass
class Fired:
    """A fault that was injected. Times are seconds since 1970; `recovered_after` is filled in at the end."""

    number: int
    kind: str
    began: float
    ended: float = 0.0
    proof: str = ""
    failure: str = ""
    recovered_after: float | None = None
    flows_after: float | None = None  # until the first order placed afterwards was on its way, where that is measured
    witness: str = "DELIVERY_STARTED"  # the status that an order placed afterwards must reach: recovered


@dataclass(frozen=True)
class Kind:
    make: Callable[[World, Random], str]
    takes: float  # seconds, about
    witness: str = Fired.witness


def fire(number: int, planned: PlannedFault, world: World) -> Fired:
    """Inject a planned fault; return it with its proof or failure."""
    fired = Fired(number, planned.kind, time.time(), witness=FAULTS[planned.kind].witness)
    try:
        fired.proof = FAULTS[planned.kind].make(world, Random(planned.choice))
    except Exception as error:
        fired.failure = f"{type(error).__name__}: {error}"
    fired.ended = time.time()
    return fired


# --- Processes --------------------------------------------------------------------------------------------------------
def kill_web(world: World, dice: Random) -> str:
    process = world.processes.one_of("web", dice)
    return _kill(process.name, dice.choice([process.pid, *process.children()]))


def kill_worker_child(world: World, dice: Random) -> str:
    process = world.processes.one_of("worker", dice)
    until(process.children, f"a child of {process.name}", seconds=30)
    return _kill(f"a child of {process.name}", dice.choice(process.children()))


def kill_worker_parent(world: World, dice: Random) -> str:
    process = world.processes.one_of("worker", dice)
    return _kill(process.name, process.pid)


def kill_relay(world: World, dice: Random) -> str:
    process = world.processes.one_of("relay", dice)
    return _kill(process.name, process.pid)


def kill_beat(world: World, dice: Random) -> str:
    process = world.processes.one_of("beat", dice)
    return _kill(process.name, process.pid)


def pause_process(world: World, dice: Random) -> str:
    """SIGSTOP for some seconds: the process is neither dead nor alive, and holds its locks and leases."""
    role = dice.choice(["web", "worker", "relay", "beat"])
    process, seconds = world.processes.one_of(role, dice), dice.uniform(2, LONGEST_PAUSE)
    group = process.pid
    with _stopped(group):
        time.sleep(seconds)
    return f"{process.name}, process group {group}, stopped for {seconds:.1f} s"


def _kill(what: str, pid: int) -> str:
    process = psutil.Process(pid)
    process.kill()
    until(lambda: _ended(process), f"the end of {what}", seconds=10, pause=0.02)
    return f"{what}, process {pid}, killed"


def _ended(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE or not process.is_running()
    return True


@contextlib.contextmanager
def _stopped(group: int) -> Iterator[None]:
    """Stop a process group within the block."""
    os.killpg(group, signal.SIGSTOP)
    try:
        until(lambda: psutil.Process(group).status() == psutil.STATUS_STOPPED, "SIGSTOP", seconds=10, pause=0.02)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGCONT)


# --- RabbitMQ ---------------------------------------------------------------------------------------------------------
def close_broker_connections(world: World, _: Random) -> str:
    said = world.rabbitmq.close_connections()
    if "Closed 0 " in said:
        raise NotFired("there were no connections")
    return said


def restart_broker_app(world: World, _: Random) -> str:
    world.rabbitmq.ctl("stop_app")
    if listening(world.rabbitmq.port):
        raise NotFired("it still listens")
    world.rabbitmq.ctl("start_app")
    return "stop_app, start_app; the port was closed between"


def kill_broker(world: World, dice: Random) -> str:
    pid = world.rabbitmq.kill()
    if listening(world.rabbitmq.port):
        raise NotFired("it still listens")
    time.sleep(dice.uniform(0, 2))
    world.rabbitmq.start()
    return f"node process {pid} killed, and started again"


def purge_queue(world: World, dice: Random) -> str:
    """Purge a queue, whose worker is stopped for a moment so that there is something to lose."""
    queue = dice.choice(sorted({*map(service_of, ORDER.steps)}))
    lull_ends = time.monotonic() + LULL

    def something_waits() -> bool:
        if time.monotonic() > lull_ends:  # the load may be held back; a stopped worker is sent what it asked for first
            world.order()
        return bool(world.rabbitmq.waiting(queue))

    with _stopped(world.processes.hearing(queue).pid):
        until(something_waits, f"a message in the queue {queue}", seconds=LULL + 20)
        time.sleep(dice.uniform(0, 1))
        purged = world.rabbitmq.purge(queue)
    if not purged:
        raise NotFired(f"{queue} was empty")
    return f"{purged} messages of the queue {queue} purged"


def wipe_broker(world: World, _: Random) -> str:
    lost = sum(map(world.rabbitmq.waiting, choreography().services))
    world.rabbitmq.wipe()
    return f"vhost deleted and made again; {lost} messages waited in its queues"


# --- Redis ------------------------------------------------------------------------------------------------------------
def stop_redis(world: World, dice: Random) -> str:
    world.redis.stop()
    if listening(world.redis.port):
        raise NotFired("it still listens")
    seconds = dice.uniform(2, LONGEST_PAUSE)
    time.sleep(seconds)
    world.redis.start()
    return f"away for {seconds:.1f} s"


def flush_redis(world: World, _: Random) -> str:
    before = world.redis.client.info("keyspace")
    if not world.redis.client.flushall():
        raise NotFired("FLUSHALL was refused")
    return f"FLUSHALL; there were {sum(part['keys'] for part in before.values())} keys"


# --- PostgreSQL -------------------------------------------------------------------------------------------------------
def restart_database(world: World, dice: Random) -> str:
    mode, before = dice.choice(["fast", "immediate"]), world.postgres.pid
    world.postgres.restart(mode)
    if world.postgres.pid == before:
        raise NotFired("it is the same process")
    return f"{mode}; process {before}, then {world.postgres.pid}"


def terminate_database_connections(world: World, _: Random) -> str:
    connection = psycopg2.connect(host=HOST, port=world.postgres.port, user="postgres", dbname="postgres")
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        (terminated,) = cursor.fetchone()
    if not terminated:
        raise NotFired("there were no connections")
    return f"{terminated} connections terminated"


# --- Providers --------------------------------------------------------------------------------------------------------
def kill_provider(world: World, dice: Random) -> str:
    process = world.processes.one_of("provider", dice)
    return _kill(process.name, process.pid)


FAULTS: dict[str, Kind] = {
    "web killed": Kind(kill_web, 0),
    "worker child killed": Kind(kill_worker_child, 0),
    "worker killed": Kind(kill_worker_parent, 0),
    "relay killed": Kind(kill_relay, 0),
    "beat killed": Kind(kill_beat, 0, witness="COMPLETED"),
    "process stopped": Kind(pause_process, 5),
    "broker connections closed": Kind(close_broker_connections, 3),
    "broker restarted": Kind(restart_broker_app, 8),
    "broker killed": Kind(kill_broker, 12),
    "queue purged": Kind(purge_queue, 2),
    "broker wiped": Kind(wipe_broker, 6),
    "Redis stopped": Kind(stop_redis, 5),
    "Redis flushed": Kind(flush_redis, 0),
    "database restarted": Kind(restart_database, 2),
    "database connections terminated": Kind(terminate_database_connections, 0),
    "provider killed": Kind(kill_provider, 1),
}
OF_PROVIDERS = {"provider killed"}  # only with providers

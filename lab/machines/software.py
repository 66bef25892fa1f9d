"""What runs on each machine: its part of etcd, PostgreSQL and RabbitMQ, and the shop's processes."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from django.conf import settings

from lab.machines.machine import SUBNET, Machine
from lab.machines.programs import ACCOUNT, LIBRARIES, Programs
from lab.rig.servers import VHOST

COOKIE = "the machines of one run"
WEB = 8000
# Patroni's shortest time to live is 20 s: a new primary takes over so long after the last heartbeat of the old one.
DCS = {
    "ttl": 20,
    "loop_wait": 2,
    "retry_timeout": 5,
    "maximum_lag_on_failover": 1_048_576,
    "primary_start_timeout": 0,
    "synchronous_mode": "quorum",  # a commit is on any two machines
    "synchronous_mode_strict": True,
    "postgresql": {
        "use_pg_rewind": True,
        "parameters": {
            "max_connections": 200,
            "shared_buffers": "64MB",
            "max_wal_size": "96MB",
            "min_wal_size": "32MB",
            "wal_keep_size": "48MB",
            "max_slot_wal_keep_size": "160MB",
            "wal_sender_timeout": "4s",
            "wal_receiver_timeout": "4s",
            "tcp_keepalives_idle": 2,
            "tcp_keepalives_interval": 1,
            "tcp_keepalives_count": 3,
        },
    },
}
HAPROXY = """
global
    maxconn 1000
defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
listen primary
    bind 127.0.0.1:5000
    option httpchk GET /primary
    default-server inter 1s fastinter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
"""
# A node whose disk is full must fail alone: its alarm would block all publishers, at every node. `guard.py` ends it.
RABBITMQ = """
default_vhost = {vhost}
loopback_users = none
cluster_partition_handling = pause_minority
cluster_formation.peer_discovery_backend = classic_config
net_ticktime = 5
raft.wal_max_size_bytes = 16000000
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 0
"""
AS_TOLD = {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}


class Software:
    """Installs what a machine runs, with the machines it is one of."""

    def __init__(self, machines: Sequence[Machine], programs: Programs, *, clocks: bool) -> None:
        """With `clocks`, the machines' clocks can be moved."""
        self.machines, self.programs, self._clocks = machines, programs, clocks

    def environment(self, machine: Machine, **changes: str) -> dict[str, str]:
        """Return the environment of a machine's processes. It does not fake the time for Go programs, which ask the
        kernel."""
        return AS_TOLD | (self.clock(machine) if self._clocks else {}) | changes

    def clock(self, machine: Machine) -> dict[str, str]:
        """Return variables that make a program read the machine's clock."""
        file = clock_of(machine)
        file.touch()
        return {
            "LD_PRELOAD": str(self.programs.clock),
            "CLOCK": str(file),
        }

    def etcd(self, machine: Machine) -> None:
        cluster = ",".join(f"{one.name}=http://{one.address}:2380" for one in self.machines)
        here = f"http://{machine.address}"
        machine.install(
            "etcd",
            [
                self.programs.etcd, "--name", machine.name, "--data-dir", machine.disk / "etcd",
                "--initial-cluster", cluster, "--initial-advertise-peer-urls", f"{here}:2380",
                "--listen-peer-urls", f"{here}:2380", "--advertise-client-urls", f"{here}:2379",
                "--listen-client-urls", f"{here}:2379,http://127.0.0.1:2379", "--pre-vote",
                "--auto-compaction-retention", "1", "--log-level", "warn",
            ],
            AS_TOLD,
        )  # fmt: skip

    def postgres(self, machine: Machine) -> None:
        home = machine.disk / "postgres"
        home.mkdir()
        shutil.chown(home, ACCOUNT, ACCOUNT)
        anybody = "host {} all 0.0.0.0/0 trust"
        postgresql = {
            "listen": "0.0.0.0:5432",
            "connect_address": f"{machine.address}:5432",
            "data_dir": str(home / "data"),
            "bin_dir": str(self.programs.postgres),
            "pgpass": str(home / "pgpass"),
            "authentication": {
                who: {"username": name, "password": "-"}  # nosec B105 (passwords are not used)
                for who, name in (("superuser", "postgres"), ("replication", "replicator"), ("rewind", "postgres"))
            },
            # A machine that cannot be rewound after its return takes a new copy, without manual work.
            "remove_data_directory_on_rewind_failure": True,
            "remove_data_directory_on_diverged_timelines": True,
            "pg_hba": ["local all all trust", anybody.format("all"), anybody.format("replication")],
            "parameters": {"unix_socket_directories": str(home)},
        }
        configuration = {
            "scope": "shop",
            "name": machine.name,
            "restapi": {"listen": "0.0.0.0:8008", "connect_address": f"{machine.address}:8008"},
            "etcd3": {"hosts": [f"{one.address}:2379" for one in self.machines]},
            "bootstrap": {"dcs": DCS, "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "no-sync"]},
            "postgresql": postgresql,
        }
        written = home / "patroni.json"
        written.write_text(json.dumps(configuration))
        packages = Path(next(path for path in sys.path if path.endswith("site-packages"))).resolve()
        environment = self.environment(machine, PYTHONPATH=str(packages), HOME=str(home))
        machine.install("patroni", [self.programs.python, "-m", "patroni", written], environment, account=ACCOUNT)

    def haproxy(self, machine: Machine) -> None:
        environment = self.environment(machine, LD_LIBRARY_PATH=str(LIBRARIES))
        machine.install("haproxy", self.haproxy_command(machine.disk), environment)

    def haproxy_command(self, folder: Path) -> list[str | Path]:
        """Return the command of HAProxy, which forwards port 5000 of its own machine to the primary."""
        lines = [f"    server {one.name} {one.address}:5432 check port 8008" for one in self.machines]
        written = folder / "haproxy.cfg"
        written.write_text(HAPROXY + "\n".join(lines) + "\n")
        return [self.programs.haproxy, "-f", written]

    def rabbitmq(self, machine: Machine) -> None:
        home = machine.disk / "rabbitmq"
        home.mkdir()
        cookie = home / ".erlang.cookie"
        cookie.write_text(COOKIE.replace(" ", ""))
        cookie.chmod(0o400)
        nodes = [
            f"cluster_formation.classic_config.nodes.{number} = rabbit@{one.name}"
            for number, one in enumerate(self.machines, 1)
        ]
        (home / "rabbitmq.conf").write_text(RABBITMQ.format(vhost=VHOST) + "\n".join(nodes) + "\n")
        (home / "advanced.config").write_text("[{aten, [{poll_interval, 1000}]}].\n")
        (home / "enabled_plugins").write_text("[].\n")
        (home / "env.conf").touch()  # stands in for the machine's own
        environment = self.environment(
            machine,
            HOME=str(home),
            RABBITMQ_NODENAME=f"rabbit@{machine.name}",
            RABBITMQ_MNESIA_BASE=str(home / "mnesia"),
            RABBITMQ_LOG_BASE=str(machine.logs / "rabbit"),
            RABBITMQ_PID_FILE=str(home / "pid"),
            RABBITMQ_CONF_ENV_FILE=str(home / "env.conf"),
            RABBITMQ_CONFIG_FILE=str(home / "rabbitmq.conf"),
            RABBITMQ_ADVANCED_CONFIG_FILE=str(home / "advanced.config"),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(home / "enabled_plugins"),
            RABBITMQ_ALLOW_INPUT="1",
            LC_ALL="C.UTF-8",
        )
        machine.install("epmd", [str(shutil.which("epmd"))], AS_TOLD)
        command = ["env", f"--chdir={home}", "/usr/lib/rabbitmq/bin/rabbitmq-server", "-noinput"]  # where cores go
        machine.install("rabbitmq", command, environment)

    def guard(self, machine: Machine) -> None:
        program = Path(__file__).with_name("guard.py")
        machine.install("guard", [self.programs.python, program, machine.disk], AS_TOLD)

    def redis(self, machine: Machine) -> None:
        options = ["--bind", machine.address, "--protected-mode", "no", "--save", "", "--dir", str(machine.disk)]
        machine.install("redis", [str(shutil.which("redis-server")), *options], self.environment(machine))

    def shop(self, machine: Machine) -> None:
        """Install a web server, a worker and a relay; on two of the machines also beat, as one of them may be down."""
        others = [one for one in self.machines if one is not machine]
        brokers = [f"amqp://guest:guest@{one.address}:5672/{VHOST}" for one in (machine, *others)]
        environment = self.environment(
            machine,
            BROKER_URL=";".join(brokers),
            WATCHED_FROM=f"{SUBNET}.0/24",
        )
        celery = (sys.executable, "-m", "celery", "-A", "shop")
        queues = "accounts,inventory,orders,payments,delivery,notifications"
        commands = {
            "web": (
                sys.executable, "-m", "granian", "--interface", "wsgi", "--host", machine.address, "--port", str(WEB),
                "--workers", "1", "--blocking-threads", "4", "shop.wsgi:application",
            ),
            "worker": (*celery, "worker", "-Q", queues, "-n", f"worker@{machine.name}", "-c", "2", "-l", "WARNING"),
            "relay": (sys.executable, str(settings.BASE_DIR / "manage.py"), "relay"),
            "beat": (*celery, "beat", "--pidfile=", "-l", "WARNING"),
        }  # fmt: skip
        for name, command in commands.items():
            if name != "beat" or machine in self.machines[:2]:
                machine.install(name, command, environment)


def clock_of(machine: Machine) -> Path:
    """Return the file with the offset of the machine's clock; it is empty while the clock is right."""
    return machine.logs / "clock"

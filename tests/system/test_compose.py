"""docker-compose.yml, deploy/ and Dockerfile, as far as they can be held against the code without a Docker engine.

tests/acceptance/test_acceptance.py starts what is written here.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands

from sagas.conf import choreography
from shop.callers import known_by, rings
from shop.contracts.offers import CALLERS
from shop.operations import watch
from shop.operations.broker import rights
from supervision import HANGS_AFTER
from tests.docs.test_docs import in_the_tables
from tests.support import compose
from tests.support.compose import FILE, OURS, SERVICES, TEXT, WEB, Missing, interpolated

ROOT = settings.BASE_DIR
BIN = Path(sys.executable).parent
SERVERS = {"postgres", "rabbitmq", "redis"}
EXPORTERS = {"postgres-exporter", "redis-exporter"}
WATCHING = {"collector", "zipkin", "prometheus", "alertmanager", "grafana", *EXPORTERS}
ONE_SHOTS = {"migrate": "migrate_all", "seed": "seed", "broker": "broker"}
REQUIRED = {name for name, kind, _ in compose.VARIABLE.findall(TEXT) if kind == "?"}
EXAMPLE = (ROOT / ".env.example").read_text()


@pytest.fixture(scope="module")
def filled_in(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `make env` writes."""
    path = tmp_path_factory.mktemp("env") / ".env"
    script = [sys.executable, ROOT / "scripts/dotenv.py", path]
    subprocess.run(script, check=True, capture_output=True)
    again = subprocess.run(script, capture_output=True, text=True)
    assert (again.returncode, path.stat().st_mode & 0o777) == (1, 0o600)
    return compose.dotenv(path.read_text())


def run(service: str, given: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    own = compose.environment_of(service, given) | {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    program = [str(BIN / command[0]), *command[1:]]
    return subprocess.run(program, cwd=ROOT, env=own, capture_output=True, text=True, timeout=120)


# --- Commands ------------------------------------------------------------------------------------------------------
def procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text().splitlines()
    commands = dict(line.split(": ", 1) for line in lines if line)
    return {name: command.rpartition("&& exec ")[2] for name, command in commands.items()}


def test_procfile_and_compose_run_the_same_but_for_the_web_servers():
    """Of these there is one for everything on a development machine, and one for each service apart."""
    address = re.compile(r" --(?:host|address|port)[ =]\S+")
    here = {address.sub("", command) for name, command in procfile().items() if name != "web"}
    there = {address.sub("", OURS[name]["command"]) for name in set(OURS) - set(WEB) - set(ONE_SHOTS)}
    assert here == there


def test_each_service_has_its_web_server_and_the_saga_a_worker_and_a_relay_of_each():
    assert set(WEB) == {*settings.SERVICES, "shop"}
    for queue in choreography().services:
        assert f"worker -Q {queue} -n {queue}@%h" in OURS[f"{queue}-worker"]["command"]
        assert OURS[f"{queue}-relay"]["command"] == "python manage.py relay"
    others = {"beat", "flower", *ONE_SHOTS}
    assert set(OURS) == {
        *WEB,
        *others,
        *(f"{one}-{kind}" for one in choreography().services for kind in ("worker", "relay")),
    }


def test_the_image_serves_as_the_web_services_do():
    (command,) = re.findall(r"^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {tuple(json.loads(command))} == {tuple(shlex.split(one["command"])) for one in WEB.values()}


def test_flower_is_there_and_starts(filled_in: dict[str, str]):
    """As far as `--help`; everything else is started by the acceptance test."""
    done = run("flower", filled_in, *shlex.split(OURS["flower"]["command"]), "--help")
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_the_one_shots():
    for name, command in ONE_SHOTS.items():
        assert OURS[name]["command"] == f"python manage.py {command}"
        assert OURS[name]["restart"] == {"migrate": "no", "seed": "on-failure", "broker": "no"}[name]
        assert command in get_commands()
    assert OURS["seed"]["profiles"] == ["sample"]  # nobody gets users with a known password without asking for them


# --- Environment ---------------------------------------------------------------------------------------------------
def test_every_variable_is_one_that_the_shop_knows():
    known = {re.sub("<SERVICE>", one.upper(), name) for name in in_the_tables() for one in settings.SERVICES}
    for service in OURS.values():
        assert set(service["environment"]) <= known


def test_a_process_knows_no_database_but_its_own():
    for name, container in OURS.items():
        service = container["environment"].get("SHOP_SERVICE")
        known = {key for key in container["environment"] if key.endswith("_DATABASE_URL")}
        if service in settings.SERVICES:
            assert known == {f"{service.upper()}_DATABASE_URL"}, name
            assert name.partition("-")[0] == service
        else:
            assert known == ({f"{one.upper()}_DATABASE_URL" for one in settings.SERVICES} if service else set()), name
        assert ("JWT_PRIVATE_KEY" in container["environment"]) == (service == "accounts")
        assert ("CARRIER_WEBHOOK_SECRETS" in container["environment"]) == (service == "delivery")
        assert ("SEAL_KEY" in container["environment"]) == (service in ("orders", "payments", "delivery", "shop")), name
        key = f"${{{str(service).upper()}_INTERNAL_KEY:?Set {str(service).upper()}_INTERNAL_KEY in .env}}"
        assert container["environment"].get("INTERNAL_KEY") == (key if service in CALLERS else None), name
        assert "POSTGRES_PASSWORD" not in str(container["environment"])


def test_a_process_knows_no_user_of_the_broker_but_its_own():
    for name, container in OURS.items():
        given = container["environment"]
        service = {"shop": "office"}.get(given.get("SHOP_SERVICE", name), given.get("SHOP_SERVICE", name))
        user, url = f"shop_{service}", given.get("BROKER_URL", "")
        if service in rights():
            assert url.startswith(f"amqp://{user}:${{{service.upper()}_BROKER_PASSWORD:"), name
        else:
            assert url == "", name
        assert ("BROKER_ADMIN_URL" in given) == (name == "broker")
        assert (given["BROKER_DECLARES"], given["TASK_EVENTS"]) == (0, 1), name
        assert "REMOTE_CONTROL" not in given, name
    asked = {f"{user.upper()}_BROKER_PASSWORD" for user in rights()}
    assert {one for one in OURS["broker"]["environment"] if one.endswith("_BROKER_PASSWORD")} == asked


def test_redis_lets_nobody_in_without_the_password(filled_in: dict[str, str]):
    command = [interpolated(word, filled_in) for word in SERVICES["redis"]["command"]]
    assert command[command.index("--requirepass") + 1] == filled_in["REDIS_PASSWORD"]
    assert interpolated(SERVICES["redis"]["environment"]["REDISCLI_AUTH"], filled_in) == filled_in["REDIS_PASSWORD"]


def test_the_example_lists_what_can_be_given_and_gives_no_secret():
    example = compose.dotenv(EXAMPLE)

    assert set(example) == {match[1] for match in compose.VARIABLE.finditer(TEXT) if match[1]}
    assert {
        name for name, value in compose.dotenv(EXAMPLE.partition("# --- Optional")[0]).items() if not value
    } == REQUIRED
    for name, kind, default in compose.VARIABLE.findall(TEXT):
        if kind == "-":
            assert example[name] == default


def test_whoever_calls_other_services_is_known_to_them(filled_in: dict[str, str]):
    known = rings(filled_in["INTERNAL_CALLERS"].split(","))

    assert set(known) == set(CALLERS)
    assert all(known_by(known, caller, filled_in[f"{caller.upper()}_INTERNAL_KEY"]) for caller in CALLERS)


def test_made_secrets_are_all_there_and_all_different(filled_in: dict[str, str]):
    assert set(filled_in) == set(compose.dotenv(EXAMPLE))
    values = [filled_in[name] for name in REQUIRED]
    assert len(set(values)) == len(values)
    assert all(len(value) >= 32 for value in values)
    for name, value in filled_in.items():
        if name.endswith("_PASSWORD") and value:
            assert re.fullmatch("[a-z0-9]+", value)  # it becomes part of a URL


@pytest.mark.parametrize("secret", sorted(REQUIRED))
def test_nothing_starts_without_its_secrets(secret: str):
    secrets = dict.fromkeys(REQUIRED, "x")
    for without in (secrets | {secret: ""}, {name: value for name, value in secrets.items() if name != secret}):
        with pytest.raises(Missing, match=secret):
            interpolated(TEXT, without)


def test_the_settings_that_come_of_it(filled_in: dict[str, str]):
    asked = """
import json
import shop.wsgi
from django.conf import settings as s
databases = {name: (one["HOST"], one["NAME"], one["USER"], one["PASSWORD"]) for name, one in s.DATABASES.items()}
print(json.dumps([s.DEBUG, s.EMBEDDED, s.SECRET_KEY, s.BROKER_URL, s.ALLOWED_HOSTS,
    [s.CACHES[name]["LOCATION"] for name in ("default", "locks")], s.EMAIL_BACKEND, s.EMAIL_HOST,
    s.SERVICE_URLS["accounts"], s.REST_FRAMEWORK["NUM_PROXIES"], databases]))
"""
    done = run("notifications", filled_in, "python", "-c", asked)
    assert done.returncode == 0, done.stderr
    *others, databases = json.loads(done.stdout)

    assert others == [
        False,
        False,
        filled_in["SECRET_KEY"],
        f"amqp://shop_notifications:{filled_in['NOTIFICATIONS_BROKER_PASSWORD']}@rabbitmq:5672//",
        ["localhost", "127.0.0.1", "notifications"],
        [f"redis://:{filled_in['REDIS_PASSWORD']}@redis:6379/{number}" for number in (2, 1)],
        "django.core.mail.backends.smtp.EmailBackend",
        "mailpit",
        "http://accounts:8080",
        1,
    ]
    own = ["postgres", "shop_notifications", "shop_notifications", filled_in["NOTIFICATIONS_DATABASE_PASSWORD"]]
    assert databases == {"notifications": own, "default": own}


# --- Start order, limits, doors ------------------------------------------------------------------------------------
def test_each_process_starts_when_what_it_needs_is_there():
    def needs(name: str) -> dict[str, str]:
        return {other: one["condition"] for other, one in SERVICES[name].get("depends_on", {}).items()}

    healthy, done = "service_healthy", "service_completed_successfully"
    for name in SERVERS:
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
        assert needs(name) == {}
    assert needs("roles") == {"postgres": healthy}
    assert needs("migrate") == {"roles": done}
    assert needs("seed") == {"migrate": done}
    assert needs("gateway") == dict.fromkeys(WEB, healthy)
    assert needs("broker") == {"rabbitmq": healthy}
    for name in set(OURS) - set(ONE_SHOTS):
        assert needs(name) == {"migrate": done, "broker": done, "redis": healthy}


def test_every_container_is_bounded_and_all_but_the_servers_may_do_little():
    for name, service in SERVICES.items():
        assert re.fullmatch(r"\d+m", service["mem_limit"]), name
        assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}, name
        assert "no-new-privileges:true" in service["security_opt"], name
        if name not in SERVERS:
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
            assert service["pids_limit"] == 200, name
    always = [service for service in SERVICES.values() if "profiles" not in service]
    assert sum(int(service["mem_limit"][:-1]) for service in always) < 8 * 1024


def test_data_is_in_named_volumes_and_files_are_there_read_only():
    volumes = [volume.split(":") for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert {one[0] for one in volumes if one[0][0] != "."} == set(FILE["volumes"])
    for path, _, *mode in (one for one in volumes if one[0][0] == "."):
        assert (ROOT / path).exists()
        assert mode == ["ro,z"]  # z: a host with SELinux labels it


def test_one_service_builds_the_image_and_none_asks_a_registry_for_it():
    assert [name for name, service in SERVICES.items() if "build" in service] == ["migrate"]
    assert {service["pull_policy"] for service in OURS.values()} == {"never"}


def test_a_background_process_is_well_while_its_loop_turns(tmp_path: Path):
    checks = {name: one["healthcheck"] for name, one in OURS.items() if name.endswith(("-worker", "-relay", "beat"))}
    assert len({json.dumps(check) for check in checks.values()}) == 1
    check = checks["beat"]
    heartbeat = OURS["beat"]["environment"]["HEARTBEAT_FILE"]
    assert check["test"][0] == "CMD-SHELL"
    program = interpolated(check["test"][1], {}).replace(heartbeat, str(tmp_path / "alive"))
    up = int(float(Path("/proc/uptime").read_text().split()[0]))

    def well() -> bool:
        return subprocess.run(["sh", "-c", program], capture_output=True).returncode == 0

    assert not well()  # it has not begun
    (tmp_path / "alive").write_text(f"{up}\n")
    assert well()
    (tmp_path / "alive").write_text(f"{up - int(HANGS_AFTER)}\n")
    assert not well()


def test_what_our_processes_write_to_is_theirs():
    """A tmpfs over a folder that the image has belongs to root, whoever the folder belongs to."""
    (user,) = re.findall(r"^USER (\d+):\d+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    for name, service in OURS.items():
        assert service["tmpfs"] == ["/tmp", f"/srv/shop/var:uid={user},gid={user},mode=0755"], name


def test_networks_keep_the_door_the_services_and_the_servers_apart():
    def on(network: str) -> set[str]:
        return {name for name, service in SERVICES.items() if network in service["networks"]}

    assert FILE["networks"]["servers"] == {"internal": True}
    assert on("door") == {"gateway", *WEB}
    assert SERVICES["gateway"]["networks"] == ["door"]
    for name in SERVERS:
        assert SERVICES[name]["networks"] == ["servers"], name
    assert on("servers") == {*SERVERS, *OURS, "roles", "collector", "prometheus", *EXPORTERS}
    assert on("services") == {*OURS, "mailpit", *WATCHING} - {*ONE_SHOTS, *EXPORTERS, "beat", "flower"}
    assert on("operators") == {"flower"}


def test_no_image_becomes_another_release_by_itself():
    """Patches may come. PostgreSQL's first number is all of its release, others' are two."""
    for name, service in SERVICES.items():
        release = r":17" if service["image"].startswith("postgres:") else r":v?\d+\.\d+(\.\d+)?(-\w+)?"
        assert name in OURS or re.search(f"{release}$", service["image"]), name


def test_rabbitmq_has_publishers_wait_before_it_is_killed():
    bounds = (ROOT / "deploy/rabbitmq/rabbitmq.conf").read_text()
    (watermark,) = re.findall(r"^vm_memory_high_watermark\.absolute = (\d+)MiB$", bounds, re.MULTILINE)
    assert int(watermark) <= int(SERVICES["rabbitmq"]["mem_limit"][:-1]) * 0.65


def test_doors_lead_to_this_machine_only_and_none_to_a_service():
    doors = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(doors) == {"gateway", "flower", "mailpit", "zipkin", "prometheus", "alertmanager", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in doors.values() for port in ports)
    assert "FLOWER_UNAUTHENTICATED_API" not in TEXT


def test_what_only_watches_is_a_profile_of_its_own():
    assert {name for name, one in SERVICES.items() if one.get("profiles") == ["observability"]} == WATCHING


# --- deploy/ -------------------------------------------------------------------------------------------------------
def test_prometheus_asks_every_replica_of_every_process():
    web, background, *_ = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    found = {job["job_name"]: job["dns_sd_configs"][0] for job in (web, background)}
    (port,) = {int(OURS[name]["environment"]["METRICS_PORT"]) for name in ("orders", "orders-relay")}
    assert {job: (one["type"], one["port"]) for job, one in found.items()} == {
        "shop": ("A", port),
        "shop-background": ("A", port),
    }
    assert set(found["shop"]["names"]) == set(WEB)
    assert set(found["shop-background"]["names"]) == {name for name in OURS if name.endswith(("-worker", "-relay"))} | {
        "beat"
    }


def test_prometheus_asks_the_servers_and_tells_alertmanager():
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    servers = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in prometheus["scrape_configs"]
        if "static_configs" in job
    }
    assert servers == {
        "rabbitmq": ["rabbitmq:15692"],
        "postgres": ["postgres-exporter:9187"],
        "redis": ["redis-exporter:9121"],
    }
    (managers,) = prometheus["alerting"]["alertmanagers"]
    assert managers["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    assert {target.partition(":")[0] for targets in servers.values() for target in targets} <= set(SERVICES)


def test_alertmanager_has_a_receiver_for_every_severity_and_tells_nobody_yet():
    config = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())
    rules = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
    alerts = {
        rule["alert"]: rule["labels"]["severity"]
        for group in rules["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert config["receivers"] == [{"name": "pages"}, {"name": "tickets"}]
    assert set(alerts.values()) == {"page", "ticket"}
    assert config["route"]["receiver"] == "tickets"
    assert [(one["receiver"], one["matchers"]) for one in config["route"]["routes"]] == [("pages", ["severity = page"])]
    for rule in config["inhibit_rules"]:
        for matchers in rule.values():
            for name in re.findall(r'"(.*)"', matchers[0])[0].split("|"):
                assert any(re.fullmatch(name, alert) for alert in alerts), name


def test_what_watches_finds_each_other():
    collector = yaml.safe_load((ROOT / "deploy/otel/collector.yaml").read_text())
    sources = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text())
    urls = [collector["exporters"]["zipkin"]["endpoint"], *(one["url"] for one in sources["datasources"])]
    assert {re.match(r"http://(\w+):", url)[1] for url in urls} <= set(SERVICES)  # type: ignore[index]


@pytest.mark.django_db(databases=list(settings.SERVICES))
def test_the_dashboard_shows_metrics_that_exist(client: Any):
    board = json.loads((ROOT / "deploy/grafana/dashboards/shop.json").read_text())
    known = client.get("/metrics").content.decode()
    shown = {name for panel in board["panels"] for name in re.findall(r"shop_\w+", panel["targets"][0]["expr"])}
    assert len(shown) >= 3
    for name in shown:
        assert f"# HELP {re.sub('_(bucket|count|sum|total)$', '', name)}" in known


# --- The image: tests/system/test_image.py has more ------------------------------------------------------------------
def test_the_health_check_asks_what_is_there(filled_in: dict[str, str]):
    (check,) = re.findall(r"CMD (\[\"python\", \"-c\".*\])", (ROOT / "Dockerfile").read_text())
    program = json.loads(check)[2]
    asked: list[str] = []
    for environment in ({}, {"METRICS_PORT": "9100"}):
        fakes = {"urlopen": lambda url, timeout: asked.append(url), "os": SimpleNamespace(environ=environment)}
        exec(program.partition("urlopen; ")[2], fakes)
    assert asked == ["http://127.0.0.1:8080/livez", "http://127.0.0.1:9100/livez"]
    assert set(watch.VIEWS) == {"/livez", "/readyz", "/metrics"}
    given = filled_in | {"ALLOWED_HOSTS": "shop.example.com"}
    assert compose.environment_of("orders", given)["ALLOWED_HOSTS"] == "shop.example.com,127.0.0.1"

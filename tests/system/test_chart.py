"""deploy/helm: rendered, valid for several versions of Kubernetes, and the same shop as docker-compose.yml."""

import difflib
import functools
import json
import re
import shlex
from typing import Any

import jsonschema
import kubernetes_validate.utils
import pytest
import yaml
from django.conf import settings

from sagas.conf import choreography
from shop.settings import SERVICES
from tests.support import compose
from tests.support.chart import (
    CHART,
    VALUES,
    Manifest,
    container,
    environment,
    of_kind,
    pods,
    rendered,
    run,
    seconds,
)
from tests.support.compose import OURS, WEB, interpolated

VERSIONS = ("1.29", "1.33", "1.37")
CUSTOM = yaml.safe_load((settings.BASE_DIR / "tests/support/custom_resources.yaml").read_text())
SECRET = re.compile(
    "SECRET_KEY|INTERNAL_CALLERS|SEAL_KEY|JWT_(PUBLIC|PRIVATE)_KEY|(LOCKS|CACHE|EMAIL|BROKER_ADMIN|.+_DATABASE)_URL|"
    ".+_BROKER_PASSWORD|CARRIER_WEBHOOK_SECRETS|FLOWER_BASIC_AUTH"
)
ONE_SHOTS = {"migrate", "broker"}
BACKGROUND = {name for name in OURS if name.endswith(("-worker", "-relay"))} | {"beat"}
PROCESSES = set(OURS) - {"seed"}  # whose users have a password that everybody knows


# --- Valid ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("values", VALUES)
def test_helm_finds_nothing_to_complain_of(values: str):
    files = [part for path in VALUES[values] for part in ("--values", path)]
    done = run("lint", "--strict", *files, ".")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_resource_is_valid(monkeypatch: pytest.MonkeyPatch):
    read = kubernetes_validate.utils.schema_contents  # a megabyte, for each resource anew
    monkeypatch.setattr(kubernetes_validate.utils, "schema_contents", functools.cache(read))
    every = [manifest for values in VALUES for when in ((), ("--is-upgrade",)) for manifest in rendered(values, *when)]
    for text in {json.dumps(manifest) for manifest in every}:
        manifest = json.loads(text)
        kind = f"{manifest['apiVersion']} {manifest['kind']}"
        if kind in CUSTOM:
            jsonschema.Draft202012Validator(CUSTOM[kind]).validate(manifest["spec"])
        else:
            for version in VERSIONS:
                kubernetes_validate.validate(manifest, version, strict=True)


def test_with_operators_everything_is_there_and_without_them_nothing_of_theirs():
    plain = {"ConfigMap", "CronJob", "Deployment", "Job", "NetworkPolicy", "PodDisruptionBudget", "Service"}
    theirs = {kind.split()[1] for kind in CUSTOM}
    assert {manifest["kind"] for manifest in rendered()} == plain
    assert {manifest["kind"] for manifest in rendered("operators")} == plain | theirs
    assert {manifest["kind"] for manifest in rendered("external")} == plain - {"NetworkPolicy"} | {"Ingress"}


@pytest.mark.parametrize(
    "wrong",
    [
        "services.orders.web.replicas=none",
        "services.reviews.saga=true",
        "environment.SEAL_KEY=secret",
        "services.orders.environment.ORDERS_DATABASE_URL=postgres://a:b@c/d",
        "cloudnativepg.instances=1",
        "image.digest=latest",
        "existingSecret=",
    ],
)
def test_values_that_cannot_be_meant_are_refused(wrong: str):
    done = run("template", "shop", ".", "--set-string" if "=postgres" in wrong else "--set", wrong)
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr


# --- The same as compose -------------------------------------------------------------------------------------------
def test_chart_and_compose_run_the_same_processes_by_the_same_commands():
    found = pods(rendered())
    assert set(found) == PROCESSES | {"gateway"}
    for name in PROCESSES:
        assert container(found[name])["command"] == shlex.split(OURS[name]["command"]), name
    assert container(found["gateway"])["command"] == compose.SERVICES["gateway"]["command"]
    assert container(found["gateway"])["image"] == compose.SERVICES["gateway"]["image"]


def test_they_are_told_the_same():
    given = {name: f"<{name}>" for name, kind, _ in compose.VARIABLE.findall(compose.TEXT) if kind == "?"}
    for name in PROCESSES:
        there = compose.environment_of(name, given)
        here = environment(container(pods(rendered())[name]))
        assert set(here) == set(there), name
        if "BROKER_URL" in there:  # each user's own
            (user,) = re.findall(r"^amqp://shop_(\w+):", there["BROKER_URL"])
            assert here.pop("BROKER_URL") == f"shop/{user.upper()}_BROKER_URL", name
        if "INTERNAL_KEY" in there:
            assert here.pop("INTERNAL_KEY") == f"shop/{there['SHOP_SERVICE'].upper()}_INTERNAL_KEY", name
        for variable in filter(SECRET.fullmatch, sorted(here)):
            assert here.pop(variable) == f"shop/{variable}", name
        service = there.get("SHOP_SERVICE", "shop")
        ours: dict[str, Any] = {f"{other.upper()}_URL": f"http://shop-{other}:8080" for other in SERVICES}
        # The Service's name is a host name, too.
        ours["PUBLIC_URL"] = "https://localhost"
        ours |= {"LOG_FORMAT": "json", "ALLOWED_HOSTS": f"localhost,shop-{service}"}
        ours |= {"DATABASE_URL": "postgres://nobody@nowhere:5432/", "FLOWER_URL": ""}
        assert here == {variable: ours.get(variable, there[variable]) for variable in here}, name


ADAPTERS = {"payments": "payments.env", "delivery": "delivery.env", "notifications": "notifications.env"}
BACK_OFFICE = {"shop", "migrate"}  # which is told what payments and delivery are


@pytest.mark.parametrize("service", ADAPTERS)
def test_what_adapters_are_told_is_told_to_their_service_and_the_back_office(service: str):
    theirs = {name for name in PROCESSES if name.partition("-")[0] == service}
    others = BACK_OFFICE if service != "notifications" else set()
    reading = {
        name
        for name in PROCESSES
        if ADAPTERS[service] in [one["path"] for one in compose.SERVICES[name].get("env_file", [])]
    }
    assert reading == theirs | others
    named = [service, "shop"] if others else [service]
    given = rendered("default", *(word for one in named for word in ("--set", f"services.{one}.secretsFrom={{keys}}")))
    told = {name for name, pod in pods(given).items() if "envFrom" in container(pod)}
    assert told == theirs | others
    assert container(pods(given)[service])["envFrom"] == [{"secretRef": {"name": "keys"}}]


def test_probes_ask_what_compose_asks():
    found = pods(rendered())
    for name in PROCESSES - ONE_SHOTS:
        one, check = container(found[name]), OURS[name].get("healthcheck", {})
        alive = one["livenessProbe"]
        if name in BACKGROUND:
            assert alive["exec"]["command"] == ["sh", "-c", interpolated(check["test"][1], {})]
            assert one["startupProbe"]["exec"] == alive["exec"]
            assert (alive["periodSeconds"], alive["failureThreshold"]) == (seconds(check["interval"]), check["retries"])
        else:
            assert (alive["httpGet"]["path"], one["readinessProbe"]["httpGet"]["path"]) == {
                "flower": ("/healthcheck", "/healthcheck")
            }.get(name, ("/livez", "/readyz"))
            asked = {one[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
            assert asked == {"http" if name == "flower" else "metrics"}
    assert container(found["gateway"])["livenessProbe"]["httpGet"]["path"] == "/gateway/livez"


def test_ports_are_where_compose_has_them():
    for name, pod in pods(rendered()).items():
        ports = {port["name"]: port["containerPort"] for port in container(pod).get("ports", ())}
        if name in BACKGROUND:
            assert ports == {"metrics": int(OURS[name]["environment"]["METRICS_PORT"])}, name
        elif name not in ONE_SHOTS:
            metrics = {"metrics": int(OURS[name]["environment"]["METRICS_PORT"])} if name in WEB else {}
            assert ports == {"http": 5555 if name == "flower" else 8080} | metrics, name
    services = of_kind("Service", rendered())
    assert set(services) == {*WEB, "flower", "gateway"}
    for name, service in services.items():
        assert service["metadata"]["name"] == f"shop-{name}"
        assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http", *["metrics"] * (name in WEB)]


@pytest.mark.parametrize("values", VALUES)
def test_containers_may_do_as_little_and_use_as_much(values: str):
    for name, pod in pods(rendered(values)).items():
        user = int(compose.SERVICES[name].get("user", 10001))
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == user
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert (pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (False, False)
        grace = compose.SERVICES[name].get("stop_grace_period", "30s")
        assert pod["terminationGracePeriodSeconds"] == seconds(grace) > settings.SHUTDOWN_GRACE
        for one in [*pod["containers"], *pod.get("initContainers", ())]:
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            if values == "default":
                assert one["resources"]["limits"]["memory"] == compose.SERVICES[name]["mem_limit"].replace("m", "Mi")


def test_the_gateway_is_compose_s_but_for_names_and_proxies():
    before = (settings.BASE_DIR / "deploy/nginx/nginx.conf").read_text().splitlines()
    for values in ("default", "external"):
        after = of_kind("ConfigMap", rendered(values))["gateway"]["data"]["nginx.conf"].strip().splitlines()
        new = [line[1:].strip() for line in difflib.ndiff(before, after) if line.startswith("+ ")]
        trusted = ["10.0.0.0/8 1;", "set_real_ip_from 10.0.0.0/8;"] if values == "external" else []
        assert sorted(new) == sorted(
            [
                "resolver kube-dns.kube-system.svc.cluster.local valid=5s ipv6=off;",
                "set $upstream http://shop-$service.shops.svc.cluster.local:8080;",
                *trusted,
            ]
        )


def test_https_is_on_where_somebody_in_front_ends_tls():
    """Without one the gateway would say http, and every request would be sent to https for ever."""
    for values, https in (("default", "0"), ("external", "1")):
        assert {environment(container(pods(rendered(values))[name]))["HTTPS"] for name in WEB} == {https}


def test_alerts_are_those_of_compose():
    (rules,) = of_kind("PrometheusRule", rendered("operators")).values()
    assert rules["spec"] == yaml.safe_load((settings.BASE_DIR / "deploy/prometheus/rules.yml").read_text())


# --- What Kubernetes does with it ----------------------------------------------------------------------------------
def selected(policy: Manifest, manifests: list[Manifest]) -> set[str]:
    selector = policy["spec"].get("podSelector", policy["spec"].get("selector"))
    wanted = selector["matchLabels"].items()
    others = {value for rule in selector.get("matchExpressions", ()) for value in rule["values"]}
    found = of_kind("Deployment", manifests) | of_kind("Job", manifests)
    found |= {name: one["spec"]["jobTemplate"] for name, one in of_kind("CronJob", manifests).items()}
    labels = {name: one["spec"]["template"]["metadata"]["labels"].items() for name, one in found.items()}
    return {name for name in found if name not in others and wanted <= labels[name]}


@pytest.mark.parametrize("kind", ["NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceMonitor"])
def test_each_is_for_the_process_that_it_is_named_after(kind: str):
    manifests = rendered("operators")
    found = of_kind(kind, manifests)
    for name, one in found.items():
        spec = one["spec"] if kind != "Service" else {"selector": {"matchLabels": one["spec"]["selector"]}}
        assert selected({"spec": spec}, manifests) == {name}
    replicated = {*WEB, "gateway", *(name for name in BACKGROUND if name != "beat")}
    assert (
        set(found)
        == {
            "NetworkPolicy": PROCESSES | {"gateway", "audit"},
            "PodDisruptionBudget": replicated,
            "Service": {*WEB, "flower", "gateway"},
            "ServiceMonitor": set(WEB),
        }[kind]
    )


def test_workers_relays_and_beat_are_scraped_pod_by_pod():
    manifests = rendered("operators")
    (monitor,) = of_kind("PodMonitor", manifests).values()
    port = monitor["spec"]["podMetricsEndpoints"][0]["port"]
    scraped = {
        name
        for name in selected(monitor, manifests) & set(pods(manifests))
        if port in [one["name"] for one in container(pods(manifests)[name]).get("ports", ())]
    }
    assert scraped == BACKGROUND


def test_the_audit_runs_nightly_as_the_back_office():
    manifests = rendered()
    (audit,) = of_kind("CronJob", manifests).values()
    pod = audit["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert container(pod)["command"] == ["python", "manage.py", "audit"]
    assert environment(container(pod)) == environment(container(pods(manifests)["migrate"]))
    assert pod["securityContext"] == pods(manifests)["migrate"]["securityContext"]


def test_beat_runs_once():
    (beat,) = [one for name, one in of_kind("Deployment", rendered("operators")).items() if name == "beat"]
    assert (beat["spec"]["replicas"], beat["spec"]["strategy"]) == (1, {"type": "Recreate"})


def test_the_door_leads_to_web_servers_only_and_only_who_has_to_reaches_further():
    found = of_kind("NetworkPolicy", rendered())

    def out(name: str) -> set[int]:
        return {port["port"] for rule in found[name]["spec"]["egress"] for port in rule["ports"]}

    assert out("gateway") == {53, 8080}
    servers = {53, 4318, 5432, 5671, 5672, 6379, 15672}
    assert out("orders") == servers | {8080}
    assert out("payments-worker") == servers | {8080, 443}
    assert out("payments-relay") == out("beat") == servers
    assert out("notifications-worker") == servers | {8080, 25, 465, 587, 443}
    for name, policy in found.items():
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert bool(policy["spec"]["ingress"]) == (name not in ONE_SHOTS | {"audit"})


def test_migrations_come_before_the_processes():
    """A hook before them; but where the databases are made by the same installation, processes wait for a Job."""
    hooks = {
        "helm.sh/hook": "pre-install,pre-upgrade",
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    for values, when in (("default", ()), ("default", ("--is-upgrade",)), ("operators", ("--is-upgrade",))):
        for job in of_kind("Job", rendered(values, *when)).values():
            assert job["metadata"]["annotations"] == hooks
    for job in of_kind("Job", rendered("operators")).values():
        assert "annotations" not in job["metadata"]

    for name, pod in pods(rendered("operators")).items():
        waits = [one["command"][-1] for one in pod.get("initContainers", ())]
        expected = (
            []
            if name in (*ONE_SHOTS, "beat", "flower", "gateway")
            else ["until python manage.py migrate_all --check; do sleep 3; done"]
        )
        assert waits == expected, name
    assert [name for name, pod in pods(rendered()).items() if "initContainers" in pod] == []


def test_servers_by_operators_are_three_of_each_and_their_secrets_are_used():
    manifests = rendered("operators")
    clusters = of_kind("Cluster", manifests)
    assert set(clusters) == {f"{service}-db" for service in SERVICES}
    for service in SERVICES:
        spec = clusters[f"{service}-db"]["spec"]
        assert (spec["instances"], spec["postgresql"]["synchronous"]["number"]) == (3, 1)
        assert spec["postgresql"]["synchronous"]["dataDurability"] == "required"
        variable = f"{service.upper()}_DATABASE_URL"
        assert environment(container(pods(manifests)[service]))[variable] == f"shop-{service}-db-app/uri"
    assert of_kind("RabbitmqCluster", manifests)["rabbitmq"]["spec"]["replicas"] == 3
    told = environment(container(pods(manifests)["broker"]))
    assert (told["ADMIN"], told["ADMIN_PASSWORD"]) == (
        "shop-rabbitmq-default-user/username",
        "shop-rabbitmq-default-user/password",
    )
    assert told["BROKER_ADMIN_URL"] == "http://$(ADMIN):$(ADMIN_PASSWORD)@shop-rabbitmq:15672"
    assert list(told).index("ADMIN_PASSWORD") < list(told).index("BROKER_ADMIN_URL")  # or it is not filled in


def test_workers_scale_by_queue_and_delay_and_relays_by_what_is_unsent():
    manifests = rendered("operators")
    found = of_kind("ScaledObject", manifests)
    assert set(found) == {f"{one}-{kind}" for one in choreography().services for kind in ("worker", "relay")}
    known = set(re.findall(r'"(shop_\w+)"', (settings.BASE_DIR / "shop/observability/metrics.py").read_text()))
    known |= {"shop_outbox_unsent"}  # of shop/operations/gauges.py
    for name, one in found.items():
        assert one["spec"]["scaleTargetRef"]["name"] == f"shop-{name}"
        assert "replicas" not in of_kind("Deployment", manifests)[name]["spec"]
        triggers = {trigger["type"]: trigger["metadata"] for trigger in one["spec"]["triggers"]}
        service = name.partition("-")[0]
        assert set(triggers) == ({"rabbitmq", "prometheus"} if name.endswith("worker") else {"prometheus"})
        assert triggers.get("rabbitmq", {}).get("queueName", service) == service
        (metric,) = re.findall(r"shop_\w+", triggers["prometheus"]["query"])
        assert metric.removesuffix("_bucket") in known
        assert service in triggers["prometheus"]["query"]


def test_servers_from_elsewhere_are_named_by_the_secret():
    found = pods(rendered("external"))
    assert "broker" not in found
    for variable, value in environment(container(found["orders"])).items():
        if SECRET.fullmatch(variable):
            assert value == f"from-the-vault/{variable}"
    triggers = of_kind("TriggerAuthentication", rendered("operators"))["orders-worker"]["spec"]["secretTargetRef"]
    assert triggers == [{"parameter": "host", "name": "shop", "key": "ORDERS_BROKER_URL"}]


def test_every_value_is_in_the_schema_and_none_is_a_secret():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(values) == set(schema["properties"]) - {"global"}
    for manifest in rendered():
        for text in re.findall(r"://[^/\s\"]*@", json.dumps(manifest)):
            assert text == "://nobody@"

"""What the gateway offers itself: landing page, health, metrics, documentation, static files."""

import pytest
from django.conf import settings as project
from django.db import connections
from django.db.utils import ConnectionHandler
from django.test import Client
from django.urls import get_resolver
from django_redis import get_redis_connection
from django_redis.pool import ConnectionFactory

DATABASES = pytest.mark.django_db(databases=list(project.SERVICES))


def test_the_landing_page_needs_nothing_and_leads_somewhere():
    page = Client().get("/").content.decode()
    for path in ("/docs/", "/api/v1/products", "/admin/", "/readyz", "/metrics", "/api/v1/schema/"):
        assert f'href="{path}"' in page


def test_alive_touches_nothing():
    assert Client().get("/livez").json() == {"status": "alive"}


@DATABASES
def test_ready():
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert set(answer.json()["checks"]) == {f"database {name}" for name in project.SERVICES} | {"broker", "redis"}
    assert set(answer.json()["checks"].values()) == {"up"}


@pytest.fixture
def _nowhere(monkeypatch):
    """The orders database is on a port where nobody listens."""
    away = project.DATABASES["orders"] | {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "PORT": 1}
    elsewhere = ConnectionHandler({"default": {}, "orders": away})["orders"]
    known = {name: connections[name] for name in project.SERVICES}
    monkeypatch.setattr("shop.operations.health.connections", known | {"orders": elsewhere})


@DATABASES
@pytest.mark.usefixtures("_nowhere")
def test_not_ready_without_a_database():
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
    assert [name for name, state in answer.json()["checks"].items() if state == "down"] == ["database orders"]


@DATABASES
def test_degraded_but_ready_without_the_broker(monkeypatch):
    """Orders are taken without it, and a replica that is taken out of traffic takes none."""
    from celery import current_app

    monkeypatch.setattr(current_app.conf, "broker_write_url", "amqp://guest:guest@127.0.0.1:1//")
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert [name for name, state in answer.json()["checks"].items() if state == "down"] == ["broker"]


@DATABASES
def test_degraded_but_ready_without_redis(settings, monkeypatch):
    away = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}
    settings.CACHES = settings.CACHES | {"locks": away}
    monkeypatch.setattr(ConnectionFactory, "_pools", {})
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert [name for name, state in answer.json()["checks"].items() if state == "down"] == ["redis"]


@DATABASES
def test_metrics():
    answer = Client().get("/metrics")
    assert answer.status_code == 200
    assert b"shop_lock_unavailable_total" in answer.content


def test_the_schema_describes_the_contract():
    schema = Client().get("/api/v1/schema/", headers={"Accept": "application/json"}).json()
    for path, methods in {
        "/api/v1/auth/token": {"post"},
        "/api/v1/users": {"get", "post"},
        "/api/v1/users/{user_id}": {"get"},
        "/api/v1/products": {"get", "post"},
        "/api/v1/products/{product_id}": {"get", "patch", "delete"},
        "/api/v1/orders": {"get", "post"},
    }.items():
        assert methods <= set(schema["paths"][path])
    listing = schema["paths"]["/api/v1/products"]["get"]
    names = {parameter["name"] for parameter in listing["parameters"]}
    assert names == {"limit", "cursor", "ordering", "category", "brand", "search", "minPrice", "maxPrice"}
    assert {"imageUrl", "categoryDisplayName", "createdAt"} <= set(
        schema["components"]["schemas"]["Product"]["properties"]
    )


def test_the_documentation_needs_nothing_from_elsewhere():
    page = Client().get("/docs/").content.decode()
    assert "swagger-ui-bundle.js" in page
    assert "https://" not in page


@pytest.mark.parametrize("debug", [True, False])
def test_static_files_are_served_without_nginx(debug, settings):
    settings.DEBUG = debug
    for path in ("admin/css/base.css", "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"):
        answer = Client().get(f"/static/{path}")
        assert answer.status_code == 200
        assert b"".join(answer.streaming_content)
    for path in ("nope.css", "../shop/settings.py", "..%2f..%2fshop/settings.py", "/etc/passwd"):
        assert Client().get(f"/static/{path}").status_code in (400, 404)


def test_every_address_of_the_api_has_one_owner():
    routes = [
        str(pattern.pattern)
        for one in get_resolver().url_patterns
        if "api/v1/" in str(one.pattern)
        for pattern in getattr(one, "url_patterns", [])
    ]
    assert len(routes) == len(set(routes)) > 10


@DATABASES
def test_locks_answer():
    assert get_redis_connection("locks").ping()

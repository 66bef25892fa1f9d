"""The gateway's own pages: landing page, health, metrics."""

import os

from celery import current_app
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_redis import get_redis_connection
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from redis.exceptions import RedisError

from shop.messaging.errors import OUTAGES

UP, DOWN = "up", "down"
BROKER_TIMEOUT = 2  # seconds

FAVICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8"
fill="#1f6f5c"/><path d="M8 12h12l4 4-4 4H8" fill="none" stroke="#fff" stroke-width="3" stroke-linejoin="round"
stroke-linecap="round"/></svg>"""


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """What is here. The page asks /readyz and the catalogue itself, so it shows also when these are away."""
    return render(request, "shop/landing.html", {"services": settings.SERVICES})


@require_safe
def favicon(_: HttpRequest) -> HttpResponse:
    return HttpResponse(FAVICON, content_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})


@require_safe
@never_cache
def livez(_: HttpRequest) -> HttpResponse:
    """The process answers. Touches nothing else: a restart would not bring a database back."""
    return JsonResponse({"status": "alive"})


@require_safe
@never_cache
def readyz(_: HttpRequest) -> HttpResponse:
    """Whether requests can be served: 503 without a database or the broker. Without Redis it is slower, not away."""
    needed = {f"database {service}": _database(service) for service in settings.SERVICES} | {"broker": _broker()}
    spared = {"redis": _redis()}
    if DOWN in needed.values():
        return JsonResponse({"status": "unavailable", "checks": needed | spared}, status=503)
    return JsonResponse({"status": "degraded" if DOWN in spared.values() else "ready", "checks": needed | spared})


@require_safe
@never_cache
def metrics(_: HttpRequest) -> HttpResponse:
    """What Prometheus scrapes: of this process, or of all its siblings with PROMETHEUS_MULTIPROC_DIR."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _database(alias: str) -> str:
    try:
        with connections[alias].cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError):
        connections[alias].close()
        return DOWN
    return UP


def _broker() -> str:
    try:
        with current_app.connection_for_write(connect_timeout=BROKER_TIMEOUT) as connection:
            connection.ensure_connection(max_retries=1, timeout=BROKER_TIMEOUT, interval_start=0.1)
    except OUTAGES:
        return DOWN
    return UP


def _redis() -> str:
    try:
        get_redis_connection("locks").ping()
    except (RedisError, OSError):
        return DOWN
    return UP

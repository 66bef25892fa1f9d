"""Endpoints for supervisors and Prometheus: /livez, /readyz, /metrics."""

from celery import current_app
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_redis import get_redis_connection
from prometheus_client import CONTENT_TYPE_LATEST
from redis.exceptions import RedisError

from sagas.outages import OUTAGES
from sagas.registry import local_services
from shop.observability.metrics import as_text
from shop.operations.backups import last_backups
from shop.operations.gauges import databases
from shop.operations.last_audit import last_audit

UP, DOWN = "up", "down"
BROKER_TIMEOUT = 2  # seconds


@require_safe
@never_cache
def livez(_: HttpRequest) -> HttpResponse:
    """Liveness: the process answers. Checks nothing else, as a restart would not bring a database back."""
    return JsonResponse({"status": "alive"})


@require_safe
@never_cache
def readyz(_: HttpRequest) -> HttpResponse:
    """Readiness: 503 without a database. Without the broker, requests are still accepted and their events wait in the
    outbox; without Redis, the shop is only slower."""
    needed = {f"database {service}": _database(service) for service in settings.LOCAL_SERVICES}
    optional = {"broker": _broker()} if local_services() else {}
    optional["redis"] = redis()
    if DOWN in needed.values():
        return JsonResponse({"status": "unavailable", "checks": needed | optional}, status=503)
    return JsonResponse({"status": "degraded" if DOWN in optional.values() else "ready", "checks": needed | optional})


@require_safe
@never_cache
def metrics(_: HttpRequest) -> HttpResponse:
    """The metrics of this process, or of all that share its PROMETHEUS_MULTIPROC_DIR."""
    collectors = [databases] if settings.ALONE else [databases, last_audit, last_backups]
    return HttpResponse(as_text(*collectors), content_type=CONTENT_TYPE_LATEST)


def redis() -> str:
    """Whether Redis answers: `UP` or `DOWN`."""
    try:
        get_redis_connection("locks").ping()
    except (RedisError, OSError):
        return DOWN
    return UP


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

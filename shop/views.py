"""What the gateway answers itself: health, metrics, circuit breakers."""

from celery import current_app
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_redis import get_redis_connection
from drf_spectacular.utils import OpenApiParameter, extend_schema
from prometheus_client import CONTENT_TYPE_LATEST
from redis.exceptions import RedisError
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from sagas.outages import OUTAGES
from sagas.outbox import local_services
from shop.api.permissions import IsStaff
from shop.api.problems import NotThere
from shop.api.serializers import Integer, Serializer, Text
from shop.calls.resilience import snapshots
from shop.observability.metrics import as_text
from shop.operations.gauges import databases

UP, DOWN = "up", "down"
BROKER_TIMEOUT = 2  # seconds

FAVICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8"
fill="#1f6f5c"/><path d="M8 12h12l4 4-4 4H8" fill="none" stroke="#fff" stroke-width="3" stroke-linejoin="round"
stroke-linecap="round"/></svg>"""


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
    needed = {f"database {service}": _database(service) for service in settings.LOCAL_SERVICES}
    if local_services():
        needed["broker"] = _broker()
    spared = {"redis": _redis()}
    if DOWN in needed.values():
        return JsonResponse({"status": "unavailable", "checks": needed | spared}, status=503)
    return JsonResponse({"status": "degraded" if DOWN in spared.values() else "ready", "checks": needed | spared})


@require_safe
@never_cache
def metrics(_: HttpRequest) -> HttpResponse:
    """What Prometheus scrapes: of this process, or of all its siblings with PROMETHEUS_MULTIPROC_DIR."""
    return HttpResponse(as_text(databases), content_type=CONTENT_TYPE_LATEST)


class BreakerSerializer(Serializer):
    """A circuit to another service, as the process that answers sees it."""

    service = Text(read_only=True)
    state = Text(read_only=True, help_text="closed, open or half open")
    calls = Integer(read_only=True, help_text="that count for the state, the latest ones")
    failures = Integer(read_only=True)
    retry_after = serializers.FloatField(read_only=True, help_text="seconds until an open one is tried again")


class BreakersView(APIView):
    """The circuits of a service to others. Each process has its own; the gateway asks one of them."""

    permission_classes = [IsStaff]

    @extend_schema(
        operation_id="breakers",
        summary="Circuit breakers of a service",
        parameters=[OpenApiParameter("service", str, OpenApiParameter.PATH, enum=settings.SERVICES)],
        responses=BreakerSerializer(many=True),
    )
    def get(self, request: Request, service: str) -> Response:
        if service not in settings.LOCAL_SERVICES:
            raise NotThere
        return Response(BreakerSerializer(snapshots(), many=True).data)


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

"""The circuit breakers of a service, as an endpoint for operators."""

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from shop.api.problems import NotThere
from shop.api.serializers import Integer, Serializer, Text
from shop.calls.breaker import snapshots


class BreakerSerializer(Serializer):
    """A circuit to another service, as the responding process sees it."""

    service = Text(read_only=True)
    state = Text(read_only=True, help_text="closed, open or half open")
    calls = Integer(read_only=True, help_text="the latest calls, which determine the state")
    failures = Integer(read_only=True)
    retry_after = serializers.FloatField(read_only=True, help_text="seconds until an open circuit is probed")


class BreakersView(APIView):
    """A service's circuits to other services. Each process has its own; one of the processes responds."""

    rights = {"GET": "shop.operate"}

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

"""The API's front page and its description, which takes some tenths of a second and so is generated once."""

from typing import Any, ClassVar

from django.http import HttpResponse
from django.utils import translation
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from shop.api.permissions import ANYBODY

RESOURCES = ("products", "orders", "returns", "payments", "deliveries", "notifications", "webhooks", "users")  # lists


class IndexView(APIView):
    """The API. Its description is at /docs/, and as OpenAPI at /api/v1/schema/."""

    rights = {"GET": ANYBODY}
    problems: ClassVar[dict[str, list[Any]]] = {}

    @extend_schema(exclude=True)
    def get(self, request: Request) -> Response:
        return Response({name: reverse(name, request=request) for name in (*RESOURCES, "schema", "docs")})


class DescriptionView(SpectacularAPIView):
    """drf-spectacular's view, generated once per process and format: it is the same for everybody, and in English."""

    made: ClassVar[dict[str, str | bytes]] = {}

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponse:
        renderer = request.accepted_renderer
        if renderer.format not in self.made:
            with translation.override("en"):
                schema = self.generator_class().get_schema(public=True)  # type: ignore[no-untyped-call]
                self.made[renderer.format] = renderer.render(schema, renderer_context={})
        kind = f"{renderer.media_type}; charset={renderer.charset}" if renderer.charset else renderer.media_type
        named = {"Content-Disposition": f'inline; filename="shop.{renderer.format}"'}
        return HttpResponse(self.made[renderer.format], content_type=kind, headers=named)

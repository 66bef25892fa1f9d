"""The API's description. Making it takes some tenths of a second, so it is made once."""

from typing import Any, ClassVar

from django.http import HttpResponse
from django.utils import translation
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request


class DescriptionView(SpectacularAPIView):
    """drf-spectacular's, made once per process and format: it is the same for everybody, and in English."""

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

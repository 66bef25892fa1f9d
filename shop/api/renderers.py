"""The API's renderers: JSON, written by msgspec in a tenth of the time, pages for a browser, and archives."""

from collections.abc import Mapping
from typing import Any

import msgspec
from rest_framework import renderers
from rest_framework.utils.encoders import JSONEncoder


class JSONRenderer(renderers.JSONRenderer):
    """Like Django REST framework's renderer, which still writes indented JSON."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is None or self.get_indent(accepted_media_type or "", renderer_context or {}) is not None:
            return super().render(data, accepted_media_type, renderer_context)
        return msgspec.json.encode(data, enc_hook=_plain)


ZIP = "application/zip"


class ZipRenderer(JSONRenderer):
    """For views that return a ZIP file if the client accepts one. Their other responses are JSON."""

    media_type = ZIP


class CsvRenderer(JSONRenderer):
    """Likewise for CSV."""

    media_type = "text/csv"


def _plain(value: Any) -> Any:
    """Encode what msgspec cannot: subclasses of str, and Django REST framework's types. Raises TypeError."""
    return str(value) if isinstance(value, str) else _encoder.default(value)


_encoder = JSONEncoder()


class BrowsableAPIRenderer(renderers.BrowsableAPIRenderer):
    """The browsable API without its filter form, whose inline styles the Content-Security-Policy forbids."""

    def get_filter_form(self, *_: Any) -> None:
        return None

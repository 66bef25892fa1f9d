"""What OpenAPI cannot know by itself: every operation may answer with a problem document."""

from typing import Any

from shop.api.problems import CODES

FIELD_ERROR = {
    "type": "object",
    "required": ["field", "value", "reason"],
    "properties": {
        "field": {"type": "string"},
        "value": {"nullable": True, "description": "What was sent, shortened; null for secrets."},
        "reason": {"type": "string"},
    },
}
PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail", "instance", "code", "timestamp", "traceId", "errors"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "enum": list(CODES)},
        "timestamp": {"type": "string", "format": "date-time"},
        "traceId": {"type": "string"},
        "errors": {"type": "array", "items": FIELD_ERROR},
    },
}


def add_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """drf-spectacular's hook: give every operation the problem document as its `default` answer."""
    components = result.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = PROBLEM
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for operations in result["paths"].values():
        for operation in operations.values():
            operation["responses"]["default"] = {"description": "A problem", "content": content}
    return result

"""What RFC 9110 requires and neither Django nor all of our servers do.

Middleware, from the outside in:

bodiless            removes bodies where none is allowed: in responses to HEAD, with 204 and 304
(ProblemMiddleware  in `shop.api.exception_handler`: turns refusals from here on into problem documents)
understood          refuses unreadable bodies; answers OPTIONS, and health checks whatever their `Host`
ConditionalGet      304 and 412 for GET and HEAD, with an `ETag` for each representation
Common              redirects to the URL with a slash, for GET and HEAD only
"""

from collections.abc import Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware import common, http
from django.urls import Resolver404, resolve
from django.utils.cache import get_conditional_response, set_response_etag
from django.utils.http import parse_http_date_safe

from shop.api.etags import FORMATTED

View = Callable[[HttpRequest], HttpResponseBase]

HEALTH = frozenset(("/livez", "/readyz", "/metrics"))  # also requested by IP address, and by HTTP/1.0 without a Host
SAFE = ("GET", "HEAD")
JSON = "application/json"


def sized(application: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a WSGI application so that every body has a length, chunked ones and those of HTTP/2 included.

    Django treats a body without `CONTENT_LENGTH` as empty. Of a body that is too large, just enough is read for Django
    to refuse it.
    """

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        if not environ.get("CONTENT_LENGTH") and environ.get("wsgi.input_terminated") and _has_body(environ):
            body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
            environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return application(environ, start_response)

    return call


def _has_body(environ: dict[str, Any]) -> bool:
    """Whether a body of unknown length may follow."""
    return "HTTP_TRANSFER_ENCODING" in environ or environ.get("SERVER_PROTOCOL", "").startswith("HTTP/2")


def bodiless(get_response: View) -> View:
    """Remove bodies where none is allowed: a client would read one as the start of the next response."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        response = get_response(request)
        if request.method == "HEAD":
            if isinstance(response, HttpResponse):
                response.headers.setdefault("Content-Length", str(len(response.content)))
            return _emptied(response)
        if response.status_code in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            del response.headers["Content-Length"]
            return _emptied(response)
        return response

    return respond


def _emptied(response: HttpResponseBase) -> HttpResponseBase:
    if isinstance(response, HttpResponse):
        response.content = b""
    else:
        response.close()
        response.streaming_content = []  # type: ignore[attr-defined]
    return response


def understood(get_response: View) -> View:
    """Answer what no view needs to see: unreadable requests, OPTIONS of the API, health checks.

    Health checks skip the middleware that requires an allowed `Host` or TLS, as probes do not know the host name.
    """

    def respond(request: HttpRequest) -> HttpResponseBase:
        if refused := _refused(request):
            return refused
        if request.path in HEALTH:
            return resolve(request.path).func(request)
        if request.method == "OPTIONS" and (methods := _methods(request.path)):
            return HttpResponse(status=HTTPStatus.NO_CONTENT, headers={"Allow": ", ".join(methods)})
        return get_response(request)

    return respond


def _refused(request: HttpRequest) -> HttpResponse | None:
    coding = request.META.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if coding not in ("", "identity"):
        return HttpResponse(status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE, headers={"Accept-Encoding": "identity"})
    if "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH"):
        return HttpResponse(status=HTTPStatus.LENGTH_REQUIRED)  # this server does not mark the end of the body
    if "\x00" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
        # PostgreSQL cannot store NUL, so no resource has one in its URL. Refuse it once, for all views.
        return HttpResponse(status=HTTPStatus.BAD_REQUEST)
    if any("\x00" in value for value in request.COOKIES.values()):  # written "\\000": likewise for the session's key
        return HttpResponse(status=HTTPStatus.BAD_REQUEST)
    return None


def _methods(path: str) -> list[str]:
    """The methods of a URL of the API; empty for any other URL."""
    try:
        view = getattr(resolve(path).func, "cls", None)
    except Resolver404:
        return []
    known = [name.upper() for name in view.http_method_names if hasattr(view, name)] if view else []
    return ["HEAD", *known] if "GET" in known and "HEAD" not in known else known


class ConditionalGet(http.ConditionalGetMiddleware):
    """Django's, for HEAD as well. A view's `ETag` is that of its JSON; other representations get their own."""

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        _tag_form(response)
        if request.method not in SAFE:
            return response
        if self.needs_etag(response) and not response.has_header("ETag"):
            set_response_etag(response)
        tag, modified = response.get("ETag"), response.get("Last-Modified")
        modified = modified and parse_http_date_safe(modified)
        if tag or modified:
            return get_conditional_response(request, etag=tag, last_modified=modified, response=response)
        return response


def _tag_form(response: Any) -> None:
    """Give each representation its own tag: indented JSON gets a suffix, an HTML page a tag of its content."""
    media_type, _, parameters = getattr(response, "accepted_media_type", JSON).partition(";")
    if "ETag" not in response.headers:
        return
    if media_type.strip() != JSON:
        del response.headers["ETag"]
    elif parameters:
        response.headers["ETag"] = f'{response.headers["ETag"][:-1]}{FORMATTED}"'


class Common(common.CommonMiddleware):
    """Django's, but requests with a body are not redirected to add a slash, which would lose the body."""

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return request.method in SAFE and super().should_redirect_with_slash(request)

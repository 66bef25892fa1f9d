"""The answering side: one endpoint for every contract that a service implements.

A request must be signed by a service that may call the contract (`OFFERS`), and is answered once: its nonce stays in
Redis until its signature expires. While Redis is down, replays cannot be detected; requests are then answered anyway
and counted. That is acceptable because contracts only read or are idempotent, and an attacker able to replay a request
has also seen its response.
"""

import logging
from typing import Any

import msgspec
from django.apps import apps
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from django_redis import get_redis_connection
from prometheus_client import Counter
from redis.exceptions import RedisError

from sagas.outages import OUTAGES
from shop.calls.rpc import implementation
from shop.calls.wire import WINDOW, BadSignature, Declared, errors_of, methods_of, verify
from shop.contracts.offers import OFFERS

logger = logging.getLogger(__name__)

UNCHECKED = Counter("shop_internal_replay_unchecked_total", "Internal requests answered while Redis was away.")
MEDIA_TYPE = "application/json"


@csrf_exempt
@never_cache
@require_POST
def answer(request: HttpRequest, service: str, contract: str, method: str) -> HttpResponse:
    """Run a method of a contract. `shop/calls/wire.py` describes request and response."""
    try:
        caller, nonce = verify(request.path, request.headers, request.body)
        _once(nonce)
    except BadSignature as refused:
        logger.warning("Refused %s: %s", request.path, refused)
        return HttpResponse(status=401)
    known = _contracts(service).get(contract)
    called = known and methods_of(known).get(method)
    if not known or not called:
        return HttpResponse(status=404)
    if caller not in OFFERS[known].callers:
        logger.warning("Refused %s to %s, which may not call it", request.path, caller)
        return HttpResponse(status=403)
    try:
        arguments = called.decode_arguments(request.body)
    except msgspec.MsgspecError as wrong:
        logger.error("%s was called with invalid arguments: %s", request.path, wrong)
        return HttpResponse(status=400)
    try:
        result = getattr(implementation(known, service), method)(**arguments)
    except tuple(errors_of(known).values()) as declared:
        body = Declared(error=type(declared).__name__, detail=declared.detail)
        return HttpResponse(msgspec.json.encode(body), status=422, content_type=MEDIA_TYPE)
    except OUTAGES as outage:
        logger.warning("%s cannot be answered now: %r", request.path, outage)
        return HttpResponse(status=503)
    return HttpResponse(msgspec.json.encode(result), content_type=MEDIA_TYPE)


def _contracts(service: str) -> dict[str, Any]:
    """The contracts that a service implements, by name; none if the service does not run here."""
    if not apps.is_installed(service):
        return {}
    return {contract.__name__: contract for contract, offer in OFFERS.items() if offer.service in ("", service)}


def _once(nonce: str) -> None:
    """Raise `BadSignature` if the nonce was used before."""
    try:
        fresh = get_redis_connection("default").set(f"{settings.PREFIX}internal:{nonce}", 1, nx=True, ex=2 * WINDOW + 1)
    except RedisError as away:
        UNCHECKED.inc()
        logger.warning("Redis is away (%s): a replayed request would be answered again", away)
        return
    if not fresh:
        raise BadSignature("The request was sent before.")

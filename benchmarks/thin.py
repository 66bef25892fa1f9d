"""The thinnest Django that does the same SQL: no middleware, no sign-in, no checks, no serializers.

It plays back the statements that the shop executed (`Played`), with its own order ids and events. The shop's additional
time is the cost of its front end.
"""

import gc
import json
import os
import pickle
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connections, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

PLAYED = "BENCHMARK_PLAYED"  # the variable that names the file


class Statement(NamedTuple):
    """An executed statement, and the PREPARE that it refers to, if any."""

    database: str
    sql: str
    parameters: Any
    preparation: str


@dataclass
class Played:
    """The statements of one request, its response's body and status, and its order."""

    statements: list[Statement]
    body: Any
    status: int
    order_id: int = 0
    event_id: str = ""


def place(request: HttpRequest) -> JsonResponse:
    """POST /orders."""
    played = PLAYS["place"]
    json.loads(request.body)
    event_id = str(uuid4())
    order_id = played.order_id
    reads = [one for one in played.statements if one.database != "orders"]
    for statement in reads:
        rows_of(statement)
    writes = played.statements[len(reads) :]
    with transaction.atomic(using="orders", durable=True) if len(writes) > 1 else nullcontext():
        for statement in writes:
            mine = replaced(statement.parameters, played, order_id, event_id)
            rows = rows_of(statement._replace(parameters=mine))
            if rows and order_id == played.order_id:
                order_id = rows[0]["id"]
    answer = answered(played.body | {"id": order_id}, played.status)
    answer.headers["Location"] = f"http://127.0.0.1/api/v1/orders/{order_id}"
    return answer


def products(_: HttpRequest) -> JsonResponse:
    """GET /products."""
    (statement,) = PLAYS["products"].statements
    return answered({"next": None, "previous": None, "results": rows_of(statement)})


def order(_: HttpRequest, order_id: int) -> JsonResponse:
    """GET /orders/{id}."""
    of_order, items, timeline = (rows_of(statement) for statement in PLAYS["order"].statements)
    return answered(of_order[0] | {"id": order_id, "items": items, "timeline": timeline})


def answered(body: Any, status: int = 200) -> JsonResponse:
    answer = JsonResponse(body, status=status)
    answer.headers["Content-Length"] = str(len(answer.content))
    return answer


def rows_of(statement: Statement) -> list[dict[str, Any]]:
    with connections[statement.database].cursor() as cursor:
        if statement.preparation:
            prepared = vars(connections[statement.database]).setdefault("prepared", set())  # connections stay open
            if statement.preparation not in prepared:
                cursor.execute(statement.preparation)
                prepared.add(statement.preparation)
        cursor.execute(statement.sql, statement.parameters)
        if cursor.description is None:
            return []
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def replaced(value: Any, played: Played, order_id: int, event_id: str) -> Any:
    """Return the parameters with another order and event."""
    match value:
        case dict():
            return {name: replaced(one, played, order_id, event_id) for name, one in value.items()}
        case list() | tuple():
            return [replaced(one, played, order_id, event_id) for one in value]
        case str():
            return value.replace(played.event_id, event_id).replace(str(played.order_id), str(order_id))
        case played.order_id:
            return order_id
    return value


urlpatterns = [
    path("api/v1/orders", place),
    path("api/v1/products", products),
    path("api/v1/orders/<int:order_id>", order),
]

if PLAYED in os.environ:  # this is its web server
    settings.MIDDLEWARE = []
    settings.ROOT_URLCONF = "benchmarks.thin"
    application = get_wsgi_application()
    gc.collect()
    gc.freeze()  # as shop/wsgi.py does
    PLAYS: dict[str, Played] = pickle.loads(Path(os.environ[PLAYED]).read_bytes())

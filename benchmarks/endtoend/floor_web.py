"""The thinnest view in front of the hand-written pipeline: reads JSON, writes the order and its event, responds."""

import json
import os
from urllib.parse import urlsplit

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.urls import path

from benchmarks.floor import CHECKOUT, PLACE

EVENT = json.dumps(CHECKOUT)


def place(request: HttpRequest) -> JsonResponse:
    json.loads(request.body)
    with connection.cursor() as cursor:
        cursor.execute(PLACE, [1, EVENT])
        order_id, _ = cursor.fetchone()
    answer = JsonResponse({"id": order_id}, status=201)
    answer.headers["Content-Length"] = str(len(answer.content))
    return answer


urlpatterns = [path("orders", place)]

if url := os.environ.get("FLOOR_ORDERS"):  # this is its web server
    server = urlsplit(url)
    settings.configure(
        SECRET_KEY="of-a-benchmark",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": server.path.lstrip("/"),
                "USER": server.username or "",
                "PASSWORD": server.password or "",
                "HOST": server.hostname or "",
                "PORT": server.port or "",
                "CONN_MAX_AGE": None,
            }
        },
    )
    application = get_wsgi_application()

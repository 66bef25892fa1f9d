"""What users feel: their requests by route."""

from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from prometheus_client import REGISTRY

PRODUCT = "api/v1/products/<id:product_id>"


def counted(**labels: str) -> float:
    return REGISTRY.get_sample_value("shop_http_request_seconds_count", labels) or 0.0


def routes() -> set[str]:
    (metric,) = (one for one in REGISTRY.collect() if one.name == "shop_http_request_seconds")
    return {sample.labels["route"] for sample in metric.samples}


@pytest.mark.django_db(databases=["catalog", "accounts"])
@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/api/v1/products/4711", {"method": "GET", "route": PRODUCT, "status": "4xx"}),
        ("GET", "/api/v1/products", {"method": "GET", "route": "api/v1/products", "status": "2xx"}),
        ("OPTIONS", "/api/v1/products", {"method": "OPTIONS", "route": "none", "status": "2xx"}),
        ("GET", "/api/v1/nothing/here", {"method": "GET", "route": "none", "status": "4xx"}),
        ("BREW", "/api/v1/products", {"method": "other", "route": "api/v1/products", "status": "4xx"}),
    ],
)
def test_a_request_is_counted_by_its_route(client: Client, method: str, path: str, labels: dict[str, str]):
    before = counted(**labels)
    client.generic(method, path)
    assert counted(**labels) == before + 1


@pytest.mark.django_db(databases=["catalog"])
def test_a_crash_is_counted(client: Client, monkeypatch: pytest.MonkeyPatch):
    def crash(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("catalog.views.ProductView.get", crash)
    client.raise_request_exception = False
    labels = {"method": "GET", "route": PRODUCT, "status": "5xx"}
    before = counted(**labels)
    assert client.get("/api/v1/products/1").status_code == 500
    assert counted(**labels) == before + 1


@pytest.mark.django_db(databases=list(settings.SERVICES))
def test_probes_and_scrapes_are_not(client: Client):
    for path in ("/livez", "/readyz", "/metrics"):
        client.get(path)
    assert not routes() & {"livez", "readyz", "metrics"}

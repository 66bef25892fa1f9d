"""The catalogue: everybody reads, staff writes."""

from contextlib import nullcontext
from http import HTTPStatus
from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.generics import ListCreateAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from catalog import services
from catalog.models import Category, Product
from catalog.search import impatient, matching
from catalog.serializers import ProductSerializer
from shop.api import etags
from shop.api.filters import IntegerFilter, TextFilter
from shop.api.permissions import ANYBODY, may
from shop.api.schema import created_at, tagged
from shop.api.throttles import SEARCH, SearchThrottle


class ProductFilter(filters.FilterSet):
    """The list's filters; a product has to match all that are given."""

    category = filters.ChoiceFilter(choices=Category.choices)
    brand = TextFilter(lookup_expr="iexact")
    search = TextFilter(
        method="by_text", label="Part of the name, the description or the brand, ignoring case and spaces"
    )
    minPrice = IntegerFilter(field_name="price", lookup_expr="gte")
    maxPrice = IntegerFilter(field_name="price", lookup_expr="lte")

    def by_text(self, products: QuerySet[Product], name: str, value: str) -> QuerySet[Product]:
        return matching(products, value)


@extend_schema_view(
    get=extend_schema(summary="What is for sale", description="Products on sale. Filters combine."),
    post=extend_schema(
        summary="Put a product up for sale",
        description="A new product. Its stock is booked in inventory.",
        operation_id="product_create",
        parameters=[created_at(201), tagged(201)],
    ),
)
class ProductListView(ListCreateAPIView[Product]):
    """What is for sale."""

    queryset = Product.objects.filter(active=True)
    serializer_class = ProductSerializer
    filterset_class = ProductFilter
    rights = {"GET": ANYBODY, "POST": "catalog.add_product"}
    problems = {"POST": [services.InvalidPrice]}
    throttle_classes = [SearchThrottle]
    same_for_everybody = True
    ordering = "id"
    ordering_fields = {"id": "id", "price": "price", "name": "sort_name", "createdAt": "created_at"}

    def paginate_queryset(self, queryset: Any) -> Any:
        with impatient() if SEARCH in self.request.query_params else nullcontext():
            return super().paginate_queryset(queryset)

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        product = services.create_product(**serializer.validated_data)
        headers = {"Location": f"{request.path}/{product.pk}", "ETag": _etag(product)}
        return Response(self.get_serializer(product).data, HTTPStatus.CREATED, headers=headers)


class ProductView(RetrieveAPIView[Product]):
    """A product. A change names its `ETag` in `If-Match`, so nobody overwrites a version that they have not read."""

    queryset = Product.objects.all()
    serializer_class = ProductSerializer
    rights = {"GET": ANYBODY, "PATCH": "catalog.change_product", "DELETE": "catalog.change_product"}
    problems = {
        "GET": [services.UnknownProduct],
        "PATCH": [services.UnknownProduct, services.InvalidPrice, services.StaleVersion, etags.IfMatchMissing],
        "DELETE": [services.UnknownProduct, services.StaleVersion, etags.IfMatchMissing],
    }
    lookup_url_kwarg = "product_id"

    def get_object(self) -> Product:
        """Return the product. One that is not for sale exists only for users with the permission to see it."""
        product = self.get_queryset().filter(pk=self.kwargs["product_id"]).first()
        if product is None or not (product.active or may(self.request.user, "catalog.view_product")):
            raise services.UnknownProduct(f"There is no product {self.kwargs['product_id']}.")
        return product

    @extend_schema(
        summary="A product",
        description="A change names its `ETag` in `If-Match`, so nobody overwrites a version that they have not read.",
        operation_id="product_read",
        parameters=[tagged(200)],
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        product = self.get_object()
        return Response(self.get_serializer(product).data, headers={"ETag": _etag(product)})

    @extend_schema(
        summary="Change a product",
        description="Changes the fields that are named, if the product is still as it was read.",
        operation_id="product_change",
        parameters=[etags.if_match(required=True), tagged(200)],
    )
    def patch(self, request: Request, product_id: int) -> Response:
        serializer: BaseSerializer[Product] = self.get_serializer(data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        product = services.change_product(product_id, serializer.validated_data, expected=_expected(request))
        return Response(self.get_serializer(product).data, headers={"ETag": _etag(product)})

    @extend_schema(
        summary="Take a product off sale",
        description="The product is kept, because orders refer to it; orders that were placed go on.",
        operation_id="product_take_off_sale",
        parameters=[etags.if_match(required=True)],
    )
    def delete(self, request: Request, product_id: int) -> Response:
        services.change_product(product_id, {"active": False}, expected=_expected(request))
        return Response(status=HTTPStatus.NO_CONTENT)


def _expected(request: Request) -> set[int] | None:
    """Return the versions that `If-Match` names; None for any."""
    tags = etags.wanted(request, required=True)
    if tags is None:
        return None
    return {int(one) for one in tags if one.isascii() and one.isdigit() and len(one) < 10}


def _etag(product: Product) -> str:
    return f'"{product.version}"'

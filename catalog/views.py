"""The catalogue: everybody reads, staff writes."""

from http import HTTPStatus
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.http import parse_etags
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework.generics import ListCreateAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from catalog import services
from catalog.models import Category, Product
from catalog.serializers import ProductSerializer
from shop.api.filters import IntegerFilter, TextFilter
from shop.api.permissions import IsStaffOrReadOnly
from shop.api.problems import Problem

IF_MATCH = OpenApiParameter(
    "If-Match", location=OpenApiParameter.HEADER, required=True, description="The ETag that was read with the product."
)


class ProductFilter(filters.FilterSet):
    """Filters combine."""

    category = filters.ChoiceFilter(choices=Category.choices)
    brand = TextFilter(lookup_expr="iexact")
    search = TextFilter(method="by_text", label="Part of the name, the description or the brand")
    minPrice = IntegerFilter(field_name="price", lookup_expr="gte")
    maxPrice = IntegerFilter(field_name="price", lookup_expr="lte")

    def by_text(self, products: QuerySet[Product], name: str, value: str) -> QuerySet[Product]:
        return products.filter(Q(name__icontains=value) | Q(description__icontains=value) | Q(brand__icontains=value))


@extend_schema_view(
    get=extend_schema(summary="What is for sale", auth=[]), post=extend_schema(summary="Put a product up for sale")
)
class ProductListView(ListCreateAPIView):
    """What is for sale."""

    queryset = Product.objects.filter(active=True)
    serializer_class = ProductSerializer
    filterset_class = ProductFilter
    permission_classes = [IsStaffOrReadOnly]
    ordering = "id"
    ordering_fields = {"id": "id", "price": "price", "name": "name", "createdAt": "created_at"}

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        product = services.create_product(**serializer.validated_data)
        headers = {"Location": f"{request.path}/{product.pk}", "ETag": _etag(product)}
        return Response(self.get_serializer(product).data, HTTPStatus.CREATED, headers=headers)


class ProductView(RetrieveAPIView):
    """A product. Its `ETag` is what a change names in `If-Match`, so that nobody overwrites what they have not read."""

    queryset = Product.objects.all()
    serializer_class = ProductSerializer
    permission_classes = [IsStaffOrReadOnly]
    lookup_url_kwarg = "product_id"

    def get_object(self) -> Product:
        """The product; one that is not for sale exists for staff only."""
        product = self.get_queryset().filter(pk=self.kwargs["product_id"]).first()
        if product is None or not (product.active or self.request.user.is_staff):
            raise services.UnknownProduct(f"There is no product {self.kwargs['product_id']}.")
        return product

    @extend_schema(summary="A product", auth=[])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        product = self.get_object()
        return Response(self.get_serializer(product).data, headers={"ETag": _etag(product)})

    @extend_schema(summary="Change a product", parameters=[IF_MATCH])
    def patch(self, request: Request, product_id: int) -> Response:
        serializer: BaseSerializer = self.get_serializer(data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        product = services.change_product(product_id, serializer.validated_data, expected=_expected(request))
        return Response(self.get_serializer(product).data, headers={"ETag": _etag(product)})

    @extend_schema(summary="Take a product off sale", parameters=[IF_MATCH])
    def delete(self, request: Request, product_id: int) -> Response:
        services.change_product(product_id, {"active": False}, expected=_expected(request))
        return Response(status=HTTPStatus.NO_CONTENT)


class IfMatchMissing(Problem):
    """A change needs `If-Match` with the ETag that was read, or `*`."""

    code = "C002"
    status_code = HTTPStatus.PRECONDITION_REQUIRED


def _expected(request: Request) -> set[int] | None:
    """The versions `If-Match` allows a change of; None for any."""
    given = request.headers.get("If-Match", "").strip()
    if not given:
        raise IfMatchMissing
    if given == "*":
        return None
    versions = [etag[1:-1] for etag in parse_etags(given) if etag.startswith('"')]  # a weak one never matches
    return {int(one) for one in versions if one.isascii() and one.isdigit() and len(one) < 10}


def _etag(product: Product) -> str:
    return f'"{product.version}"'

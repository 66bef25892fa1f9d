from django.urls import path

from catalog.views import ProductListView, ProductView

urlpatterns = [
    path("products", ProductListView.as_view(), name="products"),
    path("products/<id:product_id>", ProductView.as_view(), name="product"),
]

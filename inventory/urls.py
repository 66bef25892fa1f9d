from django.urls import path

from inventory.views import AdjustmentsView, StockView

urlpatterns = [
    path("inventory/<id:product_id>", StockView.as_view(), name="stock"),
    path("inventory/<id:product_id>/adjustments", AdjustmentsView.as_view(), name="stock-adjustments"),
]

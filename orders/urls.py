from django.urls import path

from orders.actions import CancelView, ChangesView, RefundsView
from orders.views import OrderExportView, OrdersView, OrderView

urlpatterns = [
    path("orders", OrdersView.as_view(), name="orders"),
    path("orders/export", OrderExportView.as_view(), name="order-export"),
    path("orders/<id:order_id>", OrderView.as_view(), name="order"),
    path("orders/<id:order_id>/cancel", CancelView.as_view(), name="order-cancel"),
    path("orders/<id:order_id>/changes", ChangesView.as_view(), name="order-changes"),
    path("orders/<id:order_id>/refunds", RefundsView.as_view(), name="order-refunds"),
]

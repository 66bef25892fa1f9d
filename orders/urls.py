from django.urls import path

from orders.views import CancelView, OrderExportView, OrdersView, OrderView, RefundsView

urlpatterns = [
    path("orders", OrdersView.as_view(), name="orders"),
    path("orders/export", OrderExportView.as_view(), name="order-export"),
    path("orders/<id:order_id>", OrderView.as_view(), name="order"),
    path("orders/<id:order_id>/cancel", CancelView.as_view(), name="order-cancel"),
    path("orders/<id:order_id>/refunds", RefundsView.as_view(), name="order-refunds"),
]

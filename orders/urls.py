from django.urls import path

from orders.views import CancelView, OrdersView, OrderView

urlpatterns = [
    path("orders", OrdersView.as_view(), name="orders"),
    path("orders/<id:order_id>", OrderView.as_view(), name="order"),
    path("orders/<id:order_id>/cancel", CancelView.as_view(), name="order-cancel"),
]

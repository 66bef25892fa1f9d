from django.urls import path

from orders.actions import CancelView, RefundsView
from orders.changes.views import ChangesView
from orders.returns import views as returns
from orders.views import OrderExportView, OrdersView, OrderView

urlpatterns = [
    path("orders", OrdersView.as_view(), name="orders"),
    path("orders/export", OrderExportView.as_view(), name="order-export"),
    path("orders/<id:order_id>", OrderView.as_view(), name="order"),
    path("orders/<id:order_id>/cancel", CancelView.as_view(), name="order-cancel"),
    path("orders/<id:order_id>/changes", ChangesView.as_view(), name="order-changes"),
    path("orders/<id:order_id>/refunds", RefundsView.as_view(), name="order-refunds"),
    path("orders/<id:order_id>/returns", returns.OrderReturnsView.as_view(), name="order-returns"),
    path("returns", returns.ReturnList.as_view(), name="returns"),
    path("returns/<id:return_id>", returns.ReturnView.as_view(), name="return"),
    path("returns/<id:return_id>/withdraw", returns.WithdrawView.as_view(), name="return-withdraw"),
    path("returns/<id:return_id>/approve", returns.ApproveView.as_view(), name="return-approve"),
    path("returns/<id:return_id>/refuse", returns.RefuseView.as_view(), name="return-refuse"),
    path("returns/<id:return_id>/receive", returns.ReceiveView.as_view(), name="return-receive"),
    path("returns/<id:return_id>/inspect", returns.InspectView.as_view(), name="return-inspect"),
    path("returns/<id:return_id>/refund", returns.RefundAgainView.as_view(), name="return-refund"),
]

from django.urls import path

from payments import pages
from payments.views import GatewayNotificationView, PaymentList

urlpatterns = [
    path("payments", PaymentList.as_view(), name="payments"),
    path("payments/notifications/<str:gateway>", GatewayNotificationView.as_view(), name="payment-notifications"),
    path("payments/return/<str:signed>", pages.come_back, name="payment-return"),
    path("payments/sandbox/<str:signed>", pages.sandbox, name="payment-sandbox"),
]

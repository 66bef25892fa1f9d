from django.urls import path

from delivery.views import CarrierEventsView, CarrierReportsView, DeliveryList, DeliveryView

urlpatterns = [
    path("deliveries", DeliveryList.as_view(), name="deliveries"),
    path("deliveries/carrier-events", CarrierEventsView.as_view(), name="carrier-events"),
    path("deliveries/reports/<slug:account>", CarrierReportsView.as_view(), name="carrier-reports"),
    path("deliveries/<slug:tracking_number>", DeliveryView.as_view(), name="delivery"),
]

from django.urls import path

from notifications.views import NotificationList
from notifications.webhooks.urls import urlpatterns as webhooks

urlpatterns = [path("notifications", NotificationList.as_view(), name="notifications"), *webhooks]

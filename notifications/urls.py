from django.urls import path

from notifications.views import NotificationList

urlpatterns = [path("notifications", NotificationList.as_view(), name="notifications")]

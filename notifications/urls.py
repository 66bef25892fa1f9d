from django.urls import path

from notifications.views import EmailEventsView, NotificationList, PreferencesView
from notifications.webhooks.urls import urlpatterns as webhooks

urlpatterns = [
    path("notifications", NotificationList.as_view(), name="notifications"),
    path("notifications/preferences", PreferencesView.as_view(), name="notification-preferences"),
    path("notifications/email-events", EmailEventsView.as_view(), name="email-events"),
    *webhooks,
]

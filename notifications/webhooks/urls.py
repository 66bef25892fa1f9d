from django.urls import path

from notifications.webhooks import views

ONE = "notifications/webhooks/<id:webhook_id>"

urlpatterns = [
    path("notifications/webhooks", views.WebhooksView.as_view(), name="webhooks"),
    path(f"{ONE}/secret", views.WebhookSecretView.as_view(), name="webhook-secret"),
    path(f"{ONE}/ping", views.WebhookPingView.as_view(), name="webhook-ping"),
    path(f"{ONE}/replay", views.WebhookReplayView.as_view(), name="webhook-replay"),
    path(f"{ONE}/messages", views.WebhookMessagesView.as_view(), name="webhook-messages"),
    path(
        f"{ONE}/messages/<id:message_id>/replay",
        views.WebhookMessageReplayView.as_view(),
        name="webhook-replay-message",
    ),
    path(ONE, views.WebhookView.as_view(), name="webhook"),
]

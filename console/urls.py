"""The URLs of the console."""

from django.urls import path

from console import account, changing, second_factor, views

urlpatterns = [
    path("favicon.ico", views.favicon),
    path("", views.landing, name="landing"),
    path("account/verify", account.confirm, name="account-verify"),
    path("account/forgot", account.forgot, name="account-forgot"),
    path("account/reset", account.reset, name="account-reset"),
    path("account/second-factor", second_factor.second_factor, name="second-factor"),
    path("console/state", views.state_now, name="state"),
    path("console/orders", views.orders, name="console-orders"),
    path("console/orders/<id:order_id>", views.saga, name="saga"),
    path("console/orders/<id:order_id>/now", views.saga_now, name="saga-now"),
    path("console/orders/<id:order_id>/events/<uuid:event_id>", views.event, name="event"),
    path("console/orders/<id:order_id>/change", changing.change, name="order-change"),
    path("console/orders/<id:order_id>/<str:action>", views.act, name="saga-act"),
    path("console/dead-letters", views.dead_letters, name="dead-letters"),
    path("console/faults", views.fault_switches, name="faults"),
]

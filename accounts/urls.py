from django.urls import path

from accounts.client_views import ClientTokenView
from accounts.letter_views import ConfirmationView, ConfirmView, ForgotView, ResetView
from accounts.views import (
    ErasureView,
    ExportView,
    KeysView,
    LogoutView,
    MeView,
    PasswordView,
    RefreshView,
    SignOutEverywhereView,
    TokenView,
    UserListView,
    UserView,
)

urlpatterns = [
    path("auth/token", TokenView.as_view(), name="token"),
    path("auth/token/refresh", RefreshView.as_view(), name="token-refresh"),
    path("auth/jwks", KeysView.as_view(), name="jwks"),
    path("auth/logout", LogoutView.as_view(), name="logout"),
    path("auth/sign-out-everywhere", SignOutEverywhereView.as_view(), name="sign-out-everywhere"),
    path("oauth/token", ClientTokenView.as_view(), name="oauth-token"),
    path("auth/email/confirm", ConfirmView.as_view(), name="email-confirm"),
    path("auth/password/forgot", ForgotView.as_view(), name="password-forgot"),
    path("auth/password/reset", ResetView.as_view(), name="password-reset"),
    path("users/me/confirmation", ConfirmationView.as_view(), name="confirmation"),
    path("users/me/password", PasswordView.as_view(), name="password"),
    path("users/me/export", ExportView.as_view(), name="export"),
    path("users/me/erasure", ErasureView.as_view(), name="erasure"),
    path("users", UserListView.as_view(), name="users"),
    path("users/me", MeView.as_view(), name="user-me"),
    path("users/<id:user_id>", UserView.as_view(), name="user"),
]

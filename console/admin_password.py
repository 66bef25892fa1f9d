"""The admin's page on which staff change their own password."""

from importlib import import_module
from typing import Any

from django.contrib import admin
from django.contrib.admin.forms import AdminPasswordChangeForm
from django.contrib.auth import authenticate
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest
from django.urls import reverse
from django.views.decorators.debug import sensitive_variables


class PasswordForm(AdminPasswordChangeForm):
    """Django's form, but the old password is checked by signing in: so wrong guesses are counted and limited."""

    @sensitive_variables("old")
    def clean_old_password(self) -> str:
        old: str = self.cleaned_data["old_password"]
        if authenticate(username=self.user.get_username(), password=old) is None:
            raise ValidationError(self.error_messages["password_incorrect"], code="password_incorrect")
        return old

    def save(self, commit: bool = True) -> Any:
        """By the rules of accounts: unless the password or the rights were changed in the meantime."""
        rules = import_module("accounts.services")
        try:
            rules.replace_password(self.user, self.cleaned_data["new_password1"])
        except rules.WrongCredentials:
            raise PermissionDenied from None
        return self.user


def password_change(request: HttpRequest) -> Any:
    """Show the page, in place of Django's, whose form cannot be replaced."""
    done, context = reverse("admin:password_change_done"), admin.site.each_context(request)
    return PasswordChangeView.as_view(form_class=PasswordForm, success_url=done, extra_context=context)(request)

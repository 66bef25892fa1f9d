from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from shop.desk.admin import DeskAdmin, ReadOnlyAdmin
from shop.desk.stale import UnlessStale

admin.site.unregister(Group)


class UserCreationForm(AdminUserCreationForm):
    class Meta:
        model = User
        fields = ["email", "name"]


class UserForm(UnlessStale, UserChangeForm):
    """A user's page, saved unless somebody else has changed the user meanwhile."""


class GroupForm(UnlessStale):
    """A group's page, saved unless somebody else has changed the group meanwhile."""

    class Meta:
        model = Group
        fields = ["name", "permissions"]


@admin.register(Group)
class GroupAdmin(DeskAdmin, DjangoGroupAdmin):
    """Groups of staff, with what they may do."""

    form = GroupForm


@admin.register(User)
class UserAdmin(DeskAdmin, DjangoUserAdmin):
    """Users. They are deactivated rather than deleted, because orders refer to them."""

    form = UserForm
    add_form = UserCreationForm
    ordering = ["-id"]
    list_display = ["id", "email", "name", "language", "is_staff", "is_active", "created_at"]
    list_display_links = ["id", "email"]
    list_filter = ["is_staff", "is_active", "language"]
    search_fields = ["email", "name", "phone"]
    readonly_fields = ["last_login", "created_at", "updated_at"]
    fieldsets = [
        (None, {"fields": ["email", "password", "seen"]}),
        (_("Person"), {"fields": ["name", "phone", "language"]}),
        (_("Rights"), {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]}),
        (_("Dates"), {"fields": ["last_login", "created_at", "updated_at"]}),
    ]
    add_fieldsets = [
        (None, {"classes": ["wide"], "fields": ["email", "name", "usable_password", "password1", "password2"]})
    ]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """Who has changed what here, in all services."""

    list_display = ["action_time", "user", "content_type", "object_repr", "get_change_message"]
    list_filter = ["action_time", "action_flag"]
    list_select_related = ["user", "content_type"]
    search_fields = ["user__email", "object_repr", "change_message"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

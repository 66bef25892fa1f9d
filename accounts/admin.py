from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from accounts import clients, letters, second_factor
from accounts.models import Client, DeadLetter, Outbox, StaffAction, User
from accounts.services import scopes_of
from desk.admin import VIEW_PHONES, DeadLetterAdmin, DeskAdmin, OutboxAdmin, ReadOnlyAdmin, StaffActionAdmin
from desk.stale import UnlessStale

admin.site.register(StaffAction, StaffActionAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
admin.site.register(Outbox, OutboxAdmin)

admin.site.unregister(Group)
admin.site.unregister([TOTPDevice, StaticDevice])  # their pages show keys

RIGHTS = ("is_staff", "is_superuser", "groups", "user_permissions")


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
    hidden = {"phone": VIEW_PHONES, "orders": "orders.view_order"}
    add_form = UserCreationForm
    ordering = ["-id"]
    list_display = ["id", "email", "name", "language", "verified", "is_staff", "is_active", "created_at"]
    list_display_links = ["id", "email"]
    list_filter = ["is_staff", "is_active", ("verified_at", admin.EmptyFieldListFilter), "language"]
    search_fields = ["email", "name", "phone"]
    readonly_fields = ["orders", "last_login", "verified_at", "created_at", "updated_at", "erasure_due_at", "erased_at"]
    actions = ["verify", "reset_second_factor"]
    fieldsets = [
        (None, {"fields": ["email", "password", "seen"]}),
        (_("Person"), {"fields": ["name", "phone", "language", "orders"]}),
        (_("Rights"), {"fields": ["is_active", *RIGHTS]}),
        (
            _("Dates"),
            {"fields": ["verified_at", "last_login", "created_at", "updated_at", "erasure_due_at", "erased_at"]},
        ),
    ]
    add_fieldsets = [
        (None, {"classes": ["wide"], "fields": ["email", "name", "usable_password", "password1", "password2"]})
    ]

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Without the password, and the button that resets it, for those who may not."""
        theirs = obj is None or self.has_change_permission(request, obj)
        return [*super().get_exclude(request, obj), *([] if theirs else ["password"])]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only a superuser may change staff: whoever sets a password gains the permissions behind it."""
        may = super().has_change_permission(request, obj)
        return may and (obj is None or not (obj.is_staff or obj.is_superuser) or request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description=_("orders"))
    def orders(self, user: User) -> SafeString:
        page = f"{reverse('admin:orders_order_changelist')}?user_id={user.pk}"
        return format_html('<a href="{}">{}</a>', page, _("all orders of this customer"))

    @admin.display(description=_("verified"), boolean=True, ordering="verified_at")
    def verified(self, user: User) -> bool:
        return user.verified_at is not None

    @admin.action(description=_("Reset the second factor"), permissions=["change"])
    def reset_second_factor(self, request: HttpRequest, chosen: QuerySet[User]) -> None:
        """For superusers: reset the second factor of users who have lost it."""
        if not request.user.is_superuser:
            raise PermissionDenied
        for user in chosen:
            second_factor.reset(user)

    @admin.action(description=_("Verify the addresses by hand"), permissions=["change"])
    def verify(self, request: HttpRequest, chosen: QuerySet[User]) -> None:
        """Verify addresses that users have shown in another way to be theirs."""
        found = list(chosen.filter(verified_at=None))
        for user in found:
            if self.has_change_permission(request, user):
                user.verified_at = timezone.now()
                user.save(update_fields=["verified_at", "updated_at"])
                self.log_change(request, user, "verify the address")
        self.message_user(request, _("Verified: %d.") % sum(user.verified_at is not None for user in found))

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Staff vouch for the users whom they add; a changed address has to be confirmed again."""
        if not change:
            obj.verified_at = timezone.now()
        elif "email" in form.changed_data:
            obj.verified_at = None
            letters.ask_to_verify(obj.email)
        super().save_model(request, obj, form, change)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only a superuser may grant permissions, so nobody can give themselves more than they have."""
        boss = request.user.is_superuser
        return self.readonly_fields if boss else [*self.readonly_fields, *RIGHTS]


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """Who has changed what in this admin, in all services."""

    list_display = ["action_time", "user", "content_type", "object_repr", "get_change_message"]
    list_filter = ["action_time", "action_flag"]
    list_select_related = ["user", "content_type"]
    search_fields = ["user__email", "object_repr", "change_message"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Client)
class ClientAdmin(ReadOnlyAdmin):
    """Programs that call the API for themselves. Their permissions are those of their users."""

    list_display = ["client_id", "name", "rights", "active", "secrets", "created_at"]
    list_select_related = ["user"]
    actions = ["rotate"]
    logged_by_services = True

    @admin.display(description=_("name"))
    def name(self, client: Client) -> SafeString:
        page = reverse("admin:accounts_user_change", args=[client.user_id])
        return format_html('<a href="{}">{}</a>', page, client.user.name)

    @admin.display(description=_("rights"))
    def rights(self, client: Client) -> str:
        return " ".join(scopes_of(client.user))

    @admin.display(description=_("active"), boolean=True)
    def active(self, client: Client) -> bool:
        return client.user.is_active

    @admin.display(description=_("secrets"))
    def secrets(self, client: Client) -> int:
        return len(clients.good_secrets(client))

    @admin.action(description=_("Issue another secret"))
    def rotate(self, request: HttpRequest, chosen: QuerySet[Client]) -> None:
        """For superusers: issue a new secret, which is shown once. The previous one stays valid for a day."""
        if not request.user.is_superuser:
            raise PermissionDenied
        for client in chosen:
            shown = format_html("{}: <code>{}</code>", client.client_id, clients.rotate(client))
            self.message_user(request, shown, messages.WARNING)

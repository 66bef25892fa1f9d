"""What the admin shows of every service's messages."""

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from sagas import dead_letters
from sagas.outages import OUTAGES

SECRET = ("payment_token", "address")  # names of what an event carries and the admin does not show
SHORT = 100  # characters of an error that a list shows


class ReadOnlyAdmin(admin.ModelAdmin):
    """For rows that only services write: to be looked at, and acted on by the actions offered."""

    ordering = ["-pk"]

    @admin.display(description=_("status"), ordering="status")
    def badge(self, row: Any) -> SafeString:
        """The status of a row that has one, coloured by what it means."""
        return format_html('<span class="status {}">{}</span>', row.status.lower(), row.get_status_display())

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        hidden = self.get_exclude(request, obj) or ()
        return [field.name for field in self.opts.concrete_fields if field.name not in hidden]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Hide the save buttons: the rows are read-only."""
        hidden = {"show_save": False, "show_save_and_continue": False, "show_save_and_add_another": False}
        return super().changeform_view(request, object_id, form_url, {**(extra_context or {}), **hidden})


class ReadOnlyInline(admin.TabularInline):
    """Rows of a read-only page's row."""

    extra = max_num = 0
    can_delete = False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.opts.concrete_fields if not field.primary_key and not field.is_relation]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields or self.get_readonly_fields(request, obj)


def _as_text(event: Any) -> SafeString:
    """An event as it is, but for what nobody needs to see in it."""
    return format_html("<pre>{}</pre>", json.dumps(masked(event), ensure_ascii=False, indent=2))


def masked(value: Any) -> Any:
    """What an event carries, without what nobody needs to see of it."""
    if isinstance(value, dict):
        return {key: "…" if key in SECRET and one else masked(one) for key, one in value.items()}
    return [masked(one) for one in value] if isinstance(value, list) else value


class UnsentFilter(admin.SimpleListFilter):
    """Whether the broker has an event."""

    title = _("published")
    parameter_name = "published"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("1", _("Yes")), ("0", _("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(unsent__isnull=self.value() == "1") if self.value() else queryset


class OutboxAdmin(ReadOnlyAdmin):
    """Events that a service emitted by itself, and whether the broker has them."""

    list_display = ["id", "event_type", "correlation_id", "created_at", "published"]
    list_filter = ["event_type", UnsentFilter]
    list_select_related = ["unsent"]
    search_fields = ["=correlation_id"]
    exclude = ["payload"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), "event"]

    @admin.display(description=_("event"))
    def event(self, row: Any) -> SafeString:
        return _as_text(row.payload)

    @admin.display(description=_("published"), boolean=True)
    def published(self, event: Any) -> bool:
        return not hasattr(event, "unsent")


class OpenFilter(admin.SimpleListFilter):
    """Whether somebody should look at a dead letter."""

    title = _("state")
    parameter_name = "open"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("1", _("open")), ("0", _("resolved"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(resolved_at__isnull=self.value() == "1") if self.value() else queryset


class ReasonForm(ActionForm):
    """Beside the choice of the action: why, for those that ask."""

    reason = forms.CharField(required=False, max_length=200, label=_("Reason, to discard:"))


class DeadLetterAdmin(ReadOnlyAdmin):
    """Events that a step could not handle."""

    list_display = ["id", "step", "event_type", "correlation_id", "attempts", "first_line", "created_at", "state"]
    list_filter = [OpenFilter, "resolution", "step"]
    search_fields = ["=correlation_id", "=event_id"]
    action_form = ReasonForm
    change_form_template = "admin/deadletter_change_form.html"
    actions = ["replay", "discard"]
    exclude = ["payload"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), "event"]

    @admin.display(description=_("event"))
    def event(self, letter: Any) -> SafeString:
        try:
            return _as_text(json.loads(letter.payload))
        except ValueError:  # nothing of ours: it cannot be told what in it is secret
            return format_html("<em>{}</em>", _("This is no JSON: manage.py deadletters show prints it."))

    @admin.display(description=_("error"))
    def first_line(self, letter: Any) -> str:
        line = letter.error.partition("\n")[0]
        return line if len(line) <= SHORT else f"{line[:SHORT]}…"

    @admin.display(description=_("state"), ordering="resolution")
    def state(self, letter: Any) -> SafeString:
        shown = letter.get_resolution_display() or _("open")
        return format_html('<span class="status {}">{}</span>', letter.resolution.lower() or "open", shown)

    @admin.action(description=_("Replay: send to the step again"), permissions=["change"])
    def replay(self, request: HttpRequest, letters: QuerySet[Any]) -> None:
        """Send each to its step once more; those that succeed are resolved by that."""
        try:
            for letter in letters:
                dead_letters.replay(letter)
                self.log_change(request, letter, "Replayed.")
        except dead_letters.NoSuchStep as error:
            messages.error(request, str(error))
        except OUTAGES as outage:
            messages.error(request, _("The broker is away: %s") % outage)
        else:
            said = _("Sent to their steps again: %d. What succeeds is resolved.") % len(letters)
            messages.info(request, said)

    @admin.action(description=_("Discard: the event needs no handling"), permissions=["change"])
    def discard(self, request: HttpRequest, letters: QuerySet[Any]) -> None:
        """Mark as given up, for a reason that is kept with the letter."""
        reason = request.POST.get("reason", "").strip()
        if not reason:
            messages.error(request, _("Nothing was discarded: say why, in the field beside the action."))
            return
        discarded = [letter for letter in letters if dead_letters.discard(letter, reason)]
        for letter in discarded:
            self.log_change(request, letter, f"Discarded: {reason}")
        messages.info(request, _("Discarded: %d.") % len(discarded))

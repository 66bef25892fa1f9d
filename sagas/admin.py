"""What the admin shows of every service's messages: a project registers its `Outbox` and `DeadLetter` with these."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ActionForm
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator
from django.utils.translation import gettext_lazy as _

from sagas import dead_letters
from sagas.outages import OUTAGES

SHORT = 100  # characters of an error that a list shows


class ReadOnlyAdmin(admin.ModelAdmin):
    """For rows that only services write: to be looked at, and acted on by the actions offered."""

    ordering = ["-pk"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.opts.concrete_fields]

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Hide the save buttons: the rows are read-only."""
        hidden = {"show_save": False, "show_save_and_continue": False, "show_save_and_add_another": False}
        return super().render_change_form(request, context | hidden, *args, **kwargs)


class OutboxAdmin(ReadOnlyAdmin):
    """Events that a service emitted by itself, and whether the broker has them."""

    list_display = ["id", "event_type", "correlation_id", "created_at", "published"]
    list_filter = ["event_type"]
    search_fields = ["=correlation_id"]
    list_select_related = ["unsent"]

    @admin.display(description=_("published"), boolean=True)
    def published(self, event: Any) -> bool:
        return not hasattr(event, "unsent")


class ReasonForm(ActionForm):
    """Beside the choice of the action: why, for those that ask."""

    reason = forms.CharField(required=False, max_length=200, label=_("Reason, to discard:"))


class DeadLetterAdmin(ReadOnlyAdmin):
    """Events that a step could not handle."""

    list_display = ["id", "step", "event_type", "correlation_id", "attempts", "first_line", "created_at", "resolution"]
    list_filter = [("resolved_at", admin.EmptyFieldListFilter), "resolution", "step"]
    search_fields = ["=correlation_id", "=event_id"]
    action_form = ReasonForm
    change_form_template = "admin/deadletter_change_form.html"
    actions = ["replay", "discard"]

    @admin.display(description=_("error"))
    def first_line(self, letter: Any) -> str:
        return Truncator(letter.error.partition("\n")[0]).chars(SHORT)

    @admin.action(description=_("Replay: send to the step again"), permissions=["change"])
    def replay(self, request: HttpRequest, letters: QuerySet[Any]) -> None:
        """Send each to its step once more; those that succeed are resolved by that."""
        sent, refused = 0, list[Exception]()
        for letter in letters:
            try:
                dead_letters.replay(letter)
            except dead_letters.REFUSALS as error:
                refused.append(error)
            except OUTAGES as outage:
                messages.error(request, _("The broker is away: %s") % outage)
                break
            else:
                sent += 1
                self.log_change(request, letter, "Replayed.")
        if refused:
            messages.error(request, _("Cannot be replayed: %d.") % len(refused) + f" {refused[0]}")
        messages.info(request, _("Sent to their steps again: %d. What succeeds is resolved.") % sent)

    @admin.action(description=_("Discard: the event needs no handling"), permissions=["change"])
    def discard(self, request: HttpRequest, letters: QuerySet[Any]) -> None:
        """Mark as given up, for a reason that is kept with the letter."""
        reason = request.POST.get("reason", "").strip()
        if not reason:
            messages.error(request, _("Nothing was discarded: say why, in the field beside the action."))
            return
        discarded = [letter for letter in letters if dead_letters.discard(letter, reason)]
        for letter in discarded:
            self.log_change(request, letter, "Discarded.")
        messages.info(request, _("Discarded: %d.") % len(discarded))

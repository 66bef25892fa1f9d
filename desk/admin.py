"""Lists for staff to search: by number with an index, by customer, and without inputs that end in a 500."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import CharField, Field, Q, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst, smart_split, unescape_string_literal
from django.utils.translation import gettext_lazy as _

from desk import people
from sagas import admin as kernel
from sagas.outages import OUTAGES
from shop import stafflog
from shop.api.permissions import may
from shop.redaction import masked
from shop.router import database_of
from shop.text import tidy

VIEW_CUSTOMERS = "accounts.view_user"  # the permission to see who a customer is, and to search by it
VIEW_PHONES = "accounts.view_phone"  # in addition, the permission to search by phone number
__all__ = ["DeadLetterAdmin", "DeskAdmin", "OutboxAdmin", "ReadOnlyAdmin", "ReadOnlyInline", "StaffActionAdmin"]


class DeskAdmin(admin.ModelAdmin):
    """The base of the shop's admin lists.

    In `search_fields` a `=field` is compared in its own type, not as text, so that its index is used. With
    `by_customer` rows have a `user_id`: they can be searched by that user's name or address, and `customer` shows who
    it is.

    Nobody sees the fields in `exclude`, and only users with the permission see those in `hidden`: the fields are left
    out of the list and of a row's page, and no search or filter compares them.
    """

    hidden: ClassVar[Mapping[str, str]] = {}
    by_customer = False
    as_cards = False  # on a phone its list has a card per row: the columns say by their contents what they are
    logged_by_services = False  # the services write the staff log themselves, with before and after

    def get_exclude(self, request: HttpRequest, obj: Any = None) -> list[str]:
        unseen = [field for field, right in self.hidden.items() if not may(request.user, right)]
        return [*(super().get_exclude(request, obj) or ()), *unseen]

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Refuse filters on hidden fields, such as `?payload__startswith=` in a list's URL."""
        unseen = self.get_exclude(request)
        return lookup.partition(LOOKUP_SEP)[0] not in unseen and super().lookup_allowed(lookup, value, request)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return _without(self.get_exclude(request), super().get_list_display(request))

    def get_search_fields(self, request: HttpRequest) -> list[Any]:
        return _without(self.get_exclude(request), super().get_search_fields(request))

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        unseen, fieldsets = self.get_exclude(request, obj), super().get_fieldsets(request, obj)
        return [(name, {**one, "fields": _without(unseen, one["fields"])}) for name, one in fieldsets]

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """Return the message for Django's log, and keep the old and new values for the staff log."""
        before = {name: form.initial.get(name) for name in form.changed_data}
        request.staff_changes = None if add else before, {name: form.cleaned_data.get(name) for name in before}  # type: ignore[attr-defined]
        return super().construct_change_message(request, form, formsets, add)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        self._log(request, obj, "add")
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        # Without the staff's own words: they may name a person, and nothing can be removed from the staff log.
        self._log(request, obj, message.partition(":")[0] if isinstance(message, str) else "change")
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        for obj in queryset:
            self._log(request, obj, "delete")
        return super().log_deletions(request, queryset)

    def _log(self, request: HttpRequest, obj: Any, action: str) -> None:
        if not self.logged_by_services:
            before, after = getattr(request, "staff_changes", (None, None))
            target = f"{self.opts.verbose_name_raw} {obj.pk}"
            stafflog.record(database_of(self.opts.app_label), action, target, before=before, after=after)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Ignore ids that are not valid, like those of rows that do not exist."""
        if chosen := request.POST.getlist(ACTION_CHECKBOX_NAME):
            form = request.POST.copy()
            form.setlist(ACTION_CHECKBOX_NAME, [one for one in chosen if _value(self.opts.pk, one) is not None])
            request.POST = form  # type: ignore[assignment]
        return super().changelist_view(request, extra_context)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return rows that match every word, and those of customers who match the whole term."""
        words = [_unquoted(word) for word in smart_split(tidy(search_term))]
        if not words:
            return queryset, False
        found: Q | None = Q()
        for word in words:
            conditions = (self._match(name, word) for name in self.get_search_fields(request))
            matches: list[Any] = [condition for condition in conditions if condition is not None]
            found = found & Q.create(matches, connector=Q.OR) if matches and found is not None else None
        finds_people = self.by_customer and may(request.user, VIEW_CUSTOMERS)
        customers = self._customers(request, search_term) if finds_people else []
        whose = Q(user_id__in=customers) if customers else None
        either: list[Any] = [condition for condition in (found, whose) if condition is not None]
        return (queryset.filter(Q.create(either, connector=Q.OR)) if either else queryset.none()), False

    def _match(self, name: str, word: str) -> Q | None:
        """Return the condition that a field equals or contains a word; None if it cannot."""
        if not name.startswith("="):
            return Q(**{f"{name}__icontains": word})
        field = self.opts.get_field(name[1:])
        value = _value(field, word)
        if value is None:
            return None
        if isinstance(field, CharField):  # the letters in tracking numbers are capitals
            return Q(**{f"{field.name}__in": {word, word.upper()}})
        return Q(**{field.name: value})

    def _customers(self, request: HttpRequest, term: str) -> list[int]:
        try:
            return people.find_users(term, by_phone=may(request.user, VIEW_PHONES))
        except OUTAGES:
            messages.warning(request, _("Accounts is away: only numbers are searched."))
            return []

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        """Return a row; with `by_customer`, its `customer` is looked up when it is shown."""
        row = super().get_object(request, object_id, from_field)
        if row is not None and self.by_customer:
            row.leads_to_customer = may(request.user, VIEW_CUSTOMERS)
        return row

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the page; with `by_customer`, look up all its customers in one call."""
        page = super().get_changelist_instance(request)
        if self.by_customer and "customer" in page.list_display:
            rows: list[Any] = list(page.result_list)
            try:
                known = people.users(row.user_id for row in rows)
            except OUTAGES:
                known = {}
                messages.warning(request, _("Accounts is away: customers are shown by number only."))
            may_open = may(request.user, VIEW_CUSTOMERS)
            for row in rows:
                row.found_customer, row.leads_to_customer = known.get(row.user_id), may_open
            page.result_list = rows
        return page

    @admin.display(description=_("customer"), ordering="user_id")
    def customer(self, row: Any) -> str | SafeString | None:
        """The customer's name, with the e-mail address for staff who may see it; the number of an unknown customer."""
        if row.user_id is None:
            return None
        if not hasattr(row, "found_customer"):  # on a page of its own
            try:
                row.found_customer = people.users([row.user_id]).get(row.user_id)
            except OUTAGES:
                row.found_customer = None
        user = row.found_customer
        if user is None:
            return f"#{row.user_id}"
        if not row.leads_to_customer:
            return str(user.name)
        page = reverse("admin:accounts_user_change", args=[user.id])
        return format_html('<a href="{}">{}</a><br><small>{}</small>', page, user.name, user.email)


class OnPage(NamedTuple):
    """How an action of a list is offered on a row's page: with a question there, perhaps with a reason. An action
    without a question asks back on a page of its own."""

    label: Any
    question: Any = ""
    reason: bool = False


class ReadOnlyAdmin(DeskAdmin, kernel.ReadOnlyAdmin):
    """Rows that only services write.

    Those of the list's actions that are named in `on_page` are offered on a row's page, too, while `possible` has them.
    """

    on_page: ClassVar[Mapping[str, OnPage]] = {}

    def possible(self, row: Any) -> Collection[str]:
        """Return the actions that make sense for a row as it is now."""
        return ()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Add what can be done about the row now, by this user."""
        row = self.get_object(request, object_id) if self.on_page else None
        able = {name for name in self.get_actions(request) if name in self.possible(row)} if row else set()
        url = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        offered = [{"name": name, "url": url, **one._asdict()} for name, one in self.on_page.items() if name in able]
        title = f"{capfirst(self.opts.verbose_name)} {object_id}"
        more = {"can_be_done": offered, "title": title, "subtitle": None, "named": title, **(extra_context or {})}
        return super().change_view(request, object_id, form_url, more)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Call the list by what is in it, and lead back to the row's page what was sent from there."""
        title = {"title": capfirst(self.opts.verbose_name_plural)}
        answer = super().changelist_view(request, {**title, **(extra_context or {})})
        if "from_page" in request.POST and isinstance(answer, HttpResponseRedirect):
            for chosen in request.POST.getlist(ACTION_CHECKBOX_NAME)[:1]:
                page = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
                return HttpResponseRedirect(reverse(page, args=[chosen]))
        return answer

    @admin.display(description=_("status"), ordering="status")
    def badge(self, row: Any) -> SafeString:
        """The status of a row that has one, coloured by what it means."""
        return format_html('<span class="status {}">{}</span>', row.status.lower(), row.get_status_display())


class ReadOnlyInline(admin.TabularInline):
    """Related rows on a read-only page."""

    extra = max_num = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No: Django would show an empty row, which has no values yet."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [field.name for field in self.opts.concrete_fields if not field.primary_key and not field.is_relation]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields or self.get_readonly_fields(request, obj)


class StaffActionAdmin(ReadOnlyAdmin):
    """What staff changed, in whatever way."""

    list_display = ["at", "actor", "way", "action", "target", "before", "after"]
    list_filter = ["way", "at"]
    search_fields = ["=actor_id", "=target"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class IsEmptyFilter(admin.SimpleListFilter):
    """Filters rows by whether `field` is empty: "1" for empty, "0" for not empty."""

    field = ""
    yes, no = _("Yes"), _("No")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("1", self.yes), ("0", self.no)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(**{f"{self.field}__isnull": self.value() == "1"}) if self.value() else queryset


class UnsentFilter(IsEmptyFilter):
    """Filters events by whether they are published."""

    title, parameter_name, field = _("published"), "published", "unsent"


class OpenFilter(IsEmptyFilter):
    """Filters dead letters by whether they are open."""

    title, parameter_name, field = _("state"), "open", "resolved_at"
    yes, no = _("open"), _("resolved")


class EventAdmin(DeskAdmin):
    """Rows with an event in their `payload`, which is shown with personal fields masked."""

    exclude = ["payload"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*super().get_readonly_fields(request, obj), "event"]

    @admin.display(description=_("event"))
    def event(self, row: Any) -> SafeString:
        try:
            event = json.loads(row.payload) if isinstance(row.payload, str) else row.payload
        except ValueError:  # not one of our events, so it is unknown what in it is secret
            return format_html("<em>{}</em>", _("This is no JSON: manage.py deadletters show prints it."))
        return format_html("<pre>{}</pre>", json.dumps(masked(event), ensure_ascii=False, indent=2))


class OutboxAdmin(EventAdmin, kernel.OutboxAdmin):
    """Events that a service emitted by itself."""

    list_filter = ["event_type", UnsentFilter]


class DeadLetterAdmin(EventAdmin, kernel.DeadLetterAdmin):
    """Events that a step could not handle."""

    list_display = ["id", "step", "event_type", "correlation_id", "attempts", "first_line", "created_at", "state"]
    list_filter = [OpenFilter, "resolution", "step"]
    change_form_template = "admin/shops_deadletter_change_form.html"

    @admin.display(description=_("state"), ordering="resolution")
    def state(self, letter: Any) -> SafeString:
        shown = letter.get_resolution_display() or _("open")
        return format_html('<span class="status {}">{}</span>', letter.resolution.lower() or "open", shown)


def _value(field: Any, text: str) -> Any:
    """A text as a value that the field's column can hold; None if it cannot."""
    field = getattr(field, "target_field", field)  # a foreign key's column is of the other's type
    try:
        value = field.to_python(text)
        field.run_validators(value) if isinstance(field, CharField) else None
    except (ValidationError, ValueError, OverflowError):
        return None
    if isinstance(value, int) and isinstance(field, Field):
        low, high = connections["default"].ops.integer_field_range(field.get_internal_type())
        return value if (low is None or value >= low) and (high is None or value <= high) else None
    return None if isinstance(value, str) and "\0" in value else value


def _without(unseen: Collection[str], names: Sequence[Any]) -> list[Any]:
    """Return the fields of a list, a page or a search, without the hidden ones."""
    return [name for name in names if not isinstance(name, str) or name.lstrip("=^@") not in unseen]


def _unquoted(word: str) -> str:
    quoted = word.startswith(('"', "'")) and len(word) > 1 and word[0] == word[-1]
    return unescape_string_literal(word) if quoted else word

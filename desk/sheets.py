"""Tables as CSV: exported, edited in a spreadsheet, imported again with a preview and the errors of each line.

django-import-export provides the pages and reads the lines. This module adds the shop's rules: lines are written by the
services, a file is imported completely or not at all, and no cell is taken for a formula.
"""

from hashlib import sha256
from typing import Any
from uuid import UUID, uuid4, uuid5

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _
from import_export import resources, widgets
from import_export.admin import ImportExportMixin
from import_export.formats import base_formats
from import_export.tmp_storages import CacheStorage

from desk.cells import NUMBER, shielded, unshielded
from shop.api.problems import Problem

MOST_LINES = 5000


class Csv(base_formats.CSV):
    """Comma-separated, in UTF-8."""

    def export_data(self, dataset: Any, **kwargs: Any) -> Any:
        return super().export_data(_each_cell(dataset, shielded), **kwargs)

    def create_dataset(self, in_stream: Any, **kwargs: Any) -> Any:
        return _each_cell(super().create_dataset(in_stream, **kwargs), unshielded)


def _each_cell(dataset: Any, change: Any) -> Any:
    for number, row in enumerate(dataset):
        dataset[number] = tuple(map(change, row))
    return dataset


class Kept(CacheStorage):
    """Keeps a file between its preview and its import in the cache, where every process finds it.

    Other services can write to that cache, too. The name of the file, which is in the preview's form, ends with a hash
    of its content, so a file that was exchanged is not read.
    """

    CACHE_LIFETIME = 3600
    name: Any

    def save(self, data: bytes) -> None:
        self.name = self.name or f"{uuid4().hex}-{sha256(data).hexdigest()}"
        super().save(data.decode("latin-1"))  # the cache holds JSON, which has no bytes

    def read(self) -> bytes | None:
        kept = super().read()
        data: bytes | None = kept if kept is None else kept.encode("latin-1")
        return data if data is not None and self.name.endswith(f"-{sha256(data).hexdigest()}") else None


class Whole(widgets.IntegerWidget):
    """An integer. The library's widget cuts 12.5 to 12."""

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> int | None:
        text = str(value if value is not None else "").strip()
        if not text:
            return None
        if not NUMBER.fullmatch(text) or len(text) > 20:
            raise ValueError(_("Give a whole number, without separators."))
        return int(text)


class YesNo(widgets.BooleanWidget):
    """1 or 0. The library would take every other word for a no."""

    def clean(self, value: Any, row: Any = None, **kwargs: Any) -> Any:
        if value not in (*self.TRUE_VALUES, *self.FALSE_VALUES):
            raise ValueError(_("Give 1 for yes or 0 for no."))
        return super().clean(value, row, **kwargs)


class Changes:
    """Each field's old and new value as plain text: the library's version has styles that a strict policy refuses."""

    def __init__(self, resource: Any, instance: Any, new: bool) -> None:
        self.before, self.new = self._values(resource, instance), new
        self.after: list[str] = []

    def compare_with(self, resource: Any, instance: Any) -> None:
        """A new row's number is not shown: it gets another one when the file is confirmed."""
        self.after = self._values(resource, instance)
        if self.new:
            columns = [field.column_name for field in resource.get_import_fields()]
            self.after = ["" if column == "id" else value for column, value in zip(columns, self.after, strict=True)]

    def as_html(self) -> list[str]:
        """Cells of the preview; the template escapes them."""
        return [
            after if self.new or before == after else f"{before} → {after}"
            for before, after in zip(self.before, self.after, strict=True)
        ]

    @staticmethod
    def _values(resource: Any, instance: Any) -> list[str]:
        return [str(field.export(instance)) for field in resource.get_import_fields()]


class Sheet(resources.ModelResource):
    """A table as CSV. `write` handles a line; a `Problem` is reported with the line's number."""

    def __init__(self, *, user: Any = None, token: UUID | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.user, self.token = user, token or uuid4()

    def write(self, row: Any, instance: Any, is_create: bool, booking: UUID) -> None:
        """Write a line by the service's rules. `booking` identifies it, also if the file is confirmed twice."""
        raise NotImplementedError

    def get_diff_class(self) -> Any:
        return Changes

    def before_import(self, dataset: Any, **kwargs: Any) -> None:
        if unknown := [one for one in dataset.headers or [] if one not in {*self.get_export_headers()}]:
            raise ValueError(_("There is no column %(names)s.") % {"names": ", ".join(map(str, unknown))})
        if len(dataset) > MOST_LINES:
            raise ValueError(_("A file has at most %(most)d lines.") % {"most": MOST_LINES})

    def save_instance(self, instance: Any, is_create: bool, row: Any, **kwargs: Any) -> None:
        try:
            self.write(row, instance, is_create, uuid5(self.token, str(kwargs["row_number"])))
        except Problem as refusal:
            raise ValidationError(str(refusal.detail)) from None


class SheetAdmin(ImportExportMixin):
    """An admin with “Import” and “Export”."""

    formats = [Csv]
    from_encoding = to_encoding = "utf-8-sig"  # spreadsheets need the byte order mark to read Korean
    skip_admin_log = True  # the services' rules write the staff log
    skip_export_form = True
    tmp_storage_class = Kept
    import_template_name = "admin/sheet_import.html"

    def get_import_resource_kwargs(self, request: HttpRequest, *args: Any, **kwargs: Any) -> dict[str, Any]:
        name = getattr(kwargs.get("form"), "cleaned_data", {}).get("import_file_name")
        return {"user": request.user, "token": _token(name)}

    def process_import(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Import a confirmed file, unless it was imported already or has expired in the cache."""
        may = request.method == "POST" and self.has_import_permission(request)
        if may and Kept(name=request.POST.get("import_file_name", "")).read() is None:
            messages.warning(request, _("Nothing was imported: this file was imported already, or lay too long."))
            return HttpResponseRedirect(self._import_page())
        return super().process_import(request, **kwargs)

    def process_dataset(self, dataset: Any, form: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Import all lines or none: what the preview showed may have been changed by somebody else since."""
        kwargs["rollback_on_validation_errors"] = True
        return super().process_dataset(dataset, form, request, **kwargs)

    def process_result(self, result: Any, request: HttpRequest) -> HttpResponse:
        wrong = [(one.number, one.error) for one in result.invalid_rows]
        wrong += [(number, errors[0].error) for number, errors in result.row_errors()]
        if not wrong and not result.has_errors():
            return super().process_result(result, request)
        messages.error(request, _("Nothing was imported: it has changed since the preview."))
        for number, error in wrong[:20]:  # the header is the first line
            said = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
            messages.error(request, _("Line %(number)s: %(error)s") % {"number": number + 1, "error": said})
        return HttpResponseRedirect(self._import_page())

    def _import_page(self) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_import")


def _token(name: str | None) -> UUID | None:
    try:
        return UUID((name or "").partition("-")[0])
    except ValueError:
        return None

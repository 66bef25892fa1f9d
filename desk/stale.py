"""Refuses admin forms that somebody else's change has made stale, as the API does with 412.

A browser sends all fields of a form, including unchanged ones. So saving a form that was opened before somebody else's
change would undo that change.
"""

import json
from functools import cached_property
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import connections
from django.forms.models import model_to_dict
from django.utils.crypto import salted_hmac
from django.utils.text import get_text_list
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

SEEN = "seen"


class UnlessStale(forms.ModelForm):  # type: ignore[type-arg]  # Django's takes none at run time
    """A form that is saved only while the row's fields are as they were when it was opened.

    `seen` carries what each field was, as a hash; the admin must have it among its fields.
    """

    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.instance._state.adding and SEEN in self.fields:
            self.initial[SEEN] = json.dumps(self._hashes(self.instance))

    @cached_property
    def changed_data(self) -> list[str]:
        return [name for name in super().changed_data if name != SEEN]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        seen = cleaned.pop(SEEN, "")
        if SEEN in self.initial:
            self._refuse_if_stale(seen)
        return cleaned

    def _refuse_if_stale(self, seen: str) -> None:
        try:
            before = dict(json.loads(seen))
        except (ValueError, TypeError):
            before = {}
        changed = [name for name, value in self._hashes(self._locked()).items() if before.get(name) != value]
        if changed:
            labels = [str(self.fields[name].label or name).lower() for name in changed]
            raise ValidationError(
                _("Nothing was saved: %(fields)s changed after you opened this form. Open it again to see how."),
                code="stale",
                params={"fields": get_text_list(labels, gettext("and"))},
            )

    def _locked(self) -> Any:
        """Return the current row; in a transaction it is locked, so that it cannot change before it is saved."""
        rows = type(self.instance)._base_manager.filter(pk=self.instance.pk)
        return (rows.select_for_update() if connections[rows.db].in_atomic_block else rows).get()

    def _hashes(self, row: Any) -> dict[str, str]:
        """Return {field: hash of its value}."""
        values = model_to_dict(row, fields=[name for name in self.fields if name != SEEN])
        return {name: _hash(value) for name, value in values.items()}


def _hash(value: Any) -> str:
    return salted_hmac(SEEN, json.dumps(_plain(value), cls=DjangoJSONEncoder)).hexdigest()[:12]


def _plain(value: Any) -> Any:
    """Replace the rows of a many-to-many field by their ids."""
    return sorted(one.pk for one in value) if isinstance(value, list) else value

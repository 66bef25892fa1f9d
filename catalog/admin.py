from typing import Any

from django.contrib import admin
from django.db import models
from django.forms import ModelForm
from django.http import HttpRequest

from catalog import services
from catalog.models import Product


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    """Products. They are taken off sale rather than deleted, because orders refer to them."""

    list_display = ["id", "name", "price", "currency", "category", "brand", "active", "updated_at"]
    list_display_links = ["id", "name"]
    list_filter = ["active", "category"]
    search_fields = ["name", "brand"]
    ordering = ["id"]
    formfield_overrides = {models.URLField: {"assume_scheme": "https"}}
    readonly_fields = ["version", "created_at", "updated_at"]

    def save_model(self, request: HttpRequest, obj: Product, form: ModelForm, change: bool) -> None:
        if change:
            services.change_product(obj.pk, {name: form.cleaned_data[name] for name in form.changed_data})
        else:
            obj.pk = services.create_product(**form.cleaned_data).pk

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

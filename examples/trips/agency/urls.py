"""The admin, and nothing else: trips are booked by `manage.py book`."""

from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]

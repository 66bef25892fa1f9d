from django.apps import AppConfig


class LabConfig(AppConfig):
    """An app for its commands only: it has no tables."""

    name = "lab"

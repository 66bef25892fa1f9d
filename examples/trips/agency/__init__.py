"""A travel agency: what its services share."""

from agency.celery import app

__all__ = ["app"]

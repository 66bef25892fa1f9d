"""The gateway, and what the seven services share."""

from shop.celery import app as celery_app

__all__ = ["celery_app"]

"""The gateway, and what the seven services share."""

__version__ = "0.1.0.dev0"  # the one place; CONTRIBUTING.md says how a release is cut

from shop.celery import app as celery_app

__all__ = ["__version__", "celery_app"]

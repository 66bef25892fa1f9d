"""Settings: one PostgreSQL server with one database per service, one RabbitMQ."""

import os
from typing import Any
from urllib.parse import unquote, urlsplit

from agency.saga import TRIP
from sagas import Settings

SECRET_KEY = os.environ.get("SECRET_KEY", "an example, on one's own machine")
DEBUG = True
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]

SERVICES = ["trips", "flights", "hotels", "cars"]
SAGAS = Settings(sagas=[TRIP], dead_letter_exchange="trips.dead")
RESUME_AFTER = 30  # seconds without progress, then a trip's events are published once more

# --- Databases -------------------------------------------------------------------------------------------------------
SERVER = urlsplit(os.environ.get("DATABASE_URL", "postgres://postgres@127.0.0.1:5432/"))
PREFIX = os.environ.get("DATABASE_PREFIX", "agency_")


def database(name: str) -> dict[str, Any]:
    """A database on the server. The kernel's statements are prepared once, so plans must not depend on statistics."""
    return {
        "ENGINE": "sagas.db.postgresql",
        "NAME": f"{PREFIX}{name}",
        "HOST": SERVER.hostname or "",
        "PORT": SERVER.port or "",
        "USER": unquote(SERVER.username or ""),
        "PASSWORD": unquote(SERVER.password or ""),
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"options": "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off"},
    }


DATABASES = {"default": database("users"), **{service: database(service) for service in SERVICES}}
DATABASE_ROUTERS = ["sagas.db.router.ServiceRouter"]  # an app's tables are in its own database, Django's in "default"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

BROKER_URL = os.environ.get("BROKER_URL", "amqp://guest:guest@127.0.0.1:5672//")

# --- The admin -------------------------------------------------------------------------------------------------------
ROOT_URLCONF = "agency.urls"
STATIC_URL = "static/"
USE_TZ = True
INSTALLED_APPS = [
    "sagas",
    *SERVICES,
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

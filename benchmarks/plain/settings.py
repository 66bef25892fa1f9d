"""Settings of a Django project that does the four steps with plain Celery."""

import os
from urllib.parse import urlsplit

_url = urlsplit(os.environ["PLAIN_DATABASE_URL"])
SECRET_KEY = "of-a-benchmark"
USE_TZ = True
INSTALLED_APPS = ["benchmarks.plain"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _url.path.lstrip("/"),
        "USER": _url.username or "",
        "PASSWORD": _url.password or "",
        "HOST": _url.hostname or "",
        "PORT": _url.port or "",
        "CONN_MAX_AGE": None,
    }
}

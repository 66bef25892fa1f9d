"""Settings of a Django project that does the four steps with plain Celery."""

import os
from urllib.parse import urlsplit

_url = urlsplit(os.environ["PLAIN_DATABASE_URL"])
SECRET_KEY = "of-a-benchmark"
USE_TZ = True
INSTALLED_APPS = ["benchmarks.plain", "rest_framework"]
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

# --- For benchmarks/endtoend ------------------------------------------------------------------------------------------
ROOT_URLCONF = "benchmarks.plain.web"
ALLOWED_HOSTS = ["127.0.0.1"]
MIDDLEWARE = ["django.middleware.common.CommonMiddleware"]  # of those of a new project, the one for Content-Length
EMAIL_HOST, EMAIL_PORT = "127.0.0.1", int(os.environ.get("PLAIN_MAIL_PORT", "0"))  # 0: no e-mails
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "UNAUTHENTICATED_USER": None,
}

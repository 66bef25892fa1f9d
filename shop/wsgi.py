"""The WSGI application, for granian and waitress."""

import gc
import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from shop.api.http import sized
from shop.observability import sdk

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

sdk.start()  # before the middleware is built, which it instruments
application = sized(get_wsgi_application())

# Import the views now, not while the first client waits. Then freeze all existing objects, so that the garbage
# collector does not scan them in the middle of a request.
get_resolver().url_patterns  # noqa: B018 (reading it imports them)

from shop.operations import watch  # noqa: E402 (the settings have to make the directory of its metrics first)

watch.serve()
gc.collect()
gc.freeze()

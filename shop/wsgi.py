"""The WSGI application, for granian and waitress."""

import gc
import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from shop.api.http import sized
from shop.observability import sdk

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

sdk.start()  # before the middleware is put together, which it becomes a part of
application = sized(get_wsgi_application())

# Views are imported now, not while the first client waits; and what is here by now is here to stay, so that the garbage
# collector need not look at all of it in the middle of some request.
get_resolver().url_patterns  # noqa: B018 (reading it imports them)

from shop.operations import watch  # noqa: E402 (the settings have to make the directory of its metrics first)

watch.serve()
gc.collect()
gc.freeze()

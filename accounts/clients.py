"""Programs that call the API for themselves: OAuth 2.0 with client credentials (RFC 6749, 4.4).

A client acts as a user of its own, which has no password, and whose groups and permissions are the client's. Only
hashes of its secrets are stored. Two secrets are valid at once while one replaces the other.
"""

import hashlib
import hmac
import secrets
from datetime import timedelta
from types import MappingProxyType
from typing import NamedTuple

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import Client, ClientSecret, User
from accounts.services import permissions_of, scopes_of
from shop import stafflog
from shop.api.authentication import STAFF
from shop.api.problems import Problem
from shop.api.rights import SCOPES
from shop.api.tokens import AccessToken

OVERLAP = timedelta(days=1)  # in which the previous secret is still valid
DOMAIN = "clients.invalid"  # of the addresses of clients' users: no mail goes there


class InvalidClient(Problem):
    """There is no such client, it is locked out, or its secret is wrong."""

    code = "C006"
    auth_header = 'Basic realm="api"'
    members = MappingProxyType({"error": "invalid_client"})


class InvalidScope(Problem):
    """The client does not have all of these permissions."""

    code = "C002"
    members = MappingProxyType({"error": "invalid_scope"})


class Granted(NamedTuple):
    """An access token, the seconds for which it is valid, and its permissions, separated by spaces."""

    access_token: str
    token_type: str
    expires_in: int
    scope: str


def grant(*, client_id: str, secret: str, scope: str = "") -> Granted:
    """Issue an access token with the permissions that `scope` names, or with all of the client's.

    Raises `InvalidClient`, `InvalidScope`.
    """
    client = Client.objects.select_related("user").filter(client_id=client_id, user__is_active=True).first()
    good = good_secrets(client) if client else []
    given = _hash(secret)
    if not any(hmac.compare_digest(given, one) for one in good) or not client:
        raise InvalidClient
    rights = scopes_of(client.user)
    wanted = sorted(set(scope.split())) if scope else rights
    if set(wanted) - set(rights):
        raise InvalidScope
    token, lifetime = AccessToken(), settings.STAFF_TOKEN_LIFETIME
    token.set_exp(lifetime=lifetime)
    token["user_id"], token["role"], token["client_id"] = str(client.user.pk), STAFF, client.client_id
    token["scope"] = " ".join(wanted)
    return Granted(str(token), "Bearer", int(lifetime.total_seconds()), token["scope"])


def add(*, name: str, rights: list[str], groups: list[str]) -> tuple[Client, str]:
    """Add a client; return it with its first secret, shown once. Raises `LookupError` for an unknown right or group,
    `ValidationError` for a name that is not valid."""
    if unknown := set(rights) - SCOPES.keys():
        raise LookupError(f"There are no rights {', '.join(sorted(unknown))}: manage.py rights lists them.")
    found = list(Group.objects.filter(name__in=groups))
    if missing := set(groups) - {group.name for group in found}:
        raise LookupError(f"There are no groups {', '.join(sorted(missing))}.")
    client_id = secrets.token_hex(12)
    with transaction.atomic(using="accounts", durable=True):
        user = User(email=f"{client_id}@{DOMAIN}", name=name, language=User.Language.EN, is_staff=True)
        user.set_unusable_password()
        user.clean_fields()
        user.save(force_insert=True)
        user.groups.set(found)
        user.user_permissions.set(permissions_of(rights))
        client = Client.objects.create(client_id=client_id, user=user)
        given = {"name": name, "rights": rights, "groups": groups}
        stafflog.record("accounts", "add a client", f"client {client_id}", after=given)
        return client, _new_secret(client)


def rotate(client: Client) -> str:
    """Issue a new secret, which cannot be shown again. The previous one stays valid for OVERLAP; all others end."""
    with transaction.atomic(using="accounts"):
        Client.objects.select_for_update().get(pk=client.pk)
        newest = client.secrets.order_by("-created_at", "-pk").first()
        if newest:
            client.secrets.exclude(pk=newest.pk).delete()
        client.secrets.update(expires_at=timezone.now() + OVERLAP)
        stafflog.record("accounts", "issue another secret", f"client {client.client_id}")
        return _new_secret(client)


def revoke(client: Client) -> None:
    """Lock a client out and delete its secrets; its tokens are valid until they expire."""
    with transaction.atomic(using="accounts"):
        client.secrets.all().delete()
        User.objects.filter(pk=client.user_id).update(is_active=False)
        stafflog.record("accounts", "revoke a client", f"client {client.client_id}")


def _new_secret(client: Client) -> str:
    secret = secrets.token_urlsafe(32)
    ClientSecret.objects.create(client=client, hash=_hash(secret))
    return secret


def good_secrets(client: Client) -> list[str]:
    """Return the hashes of the secrets that are valid now."""
    good = client.secrets.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    return list(good.values_list("hash", flat=True))


def _hash(secret: str) -> str:
    """Hash a secret of 256 random bits, which needs no slow hash."""
    return hashlib.sha256(secret.encode()).hexdigest()

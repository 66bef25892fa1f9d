"""Tokens and signatures that are not what they claim to be; and keys that services can check but not sign with."""

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import services
from accounts.models import User
from delivery.models import CarrierEvent, Delivery
from shop.api import tokens
from shop.api.keys import derived_private_key, key_id, key_set, public_key, public_keys

pytestmark = pytest.mark.django_db(databases=["accounts"])

ME = "/api/v1/users/me"


@pytest.fixture
def pair() -> services.TokenPair:
    return services.issue(User.objects.create(email="hana@example.com", name="Hana", password="!"))


def refused(token: str) -> bool:
    answer = APIClient().get(ME, headers={"Authorization": f"Bearer {token}"})
    if answer.status_code == 200:
        return False
    assert (answer.status_code, answer.json()["code"]) == (401, "C006")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    return True


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims."""
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


def signed(header: dict[str, Any], claims: dict[str, Any], key: str = settings.JWT_PRIVATE_KEY) -> str:
    return jwt.encode(claims, key, algorithm="EdDSA", headers=header)


def encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


# --- Forged, expired, confused ----------------------------------------------------------------------------------------
def test_our_own_token_is_good_and_names_its_key(pair: services.TokenPair):
    header, claims = parts(pair.access)

    assert not refused(pair.access)
    assert not refused(signed(header, claims))
    assert (header["alg"], header["kid"]) == ("EdDSA", next(iter(public_keys(settings.SIMPLE_JWT["VERIFYING_KEY"]))))
    assert set(claims) == {"token_type", "exp", "iat", "jti", "user_id", "role", "iss"}


def test_a_token_of_another_key_is_refused_whatever_it_calls_the_key(pair: services.TokenPair):
    header, claims = parts(pair.access)
    other = derived_private_key("another secret")
    (other_id,) = public_keys(public_key(other))

    for kid in (header["kid"], other_id, "", "../../dev/null", "' OR 1=1 --"):
        assert refused(signed({"kid": kid}, claims | {"role": "staff"}, other)), kid


def test_a_token_without_a_signature_is_refused(pair: services.TokenPair):
    header, claims = parts(pair.access)
    for algorithm in ("none", "None", "NONE", "nOnE"):
        unsigned = f"{encoded(header | {'alg': algorithm})}.{encoded(claims | {'role': 'staff'})}."
        assert refused(unsigned)
    head, body, signature = pair.access.split(".")
    assert refused(f"{head}.{body}.")
    assert refused(f"{head}.{encoded(claims | {'role': 'staff'})}.{signature}")


@pytest.mark.parametrize("digest", ["HS256", "HS384", "HS512"])
def test_the_public_key_is_no_secret_to_sign_with(pair: services.TokenPair, digest: str):
    header, claims = parts(pair.access)
    pem = settings.SIMPLE_JWT["VERIFYING_KEY"]
    (raw,) = (key.public_bytes_raw() for key in public_keys(pem).values())
    function = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[digest]
    signing_input = f"{encoded(header | {'alg': digest})}.{encoded(claims | {'role': 'staff'})}"
    for secret in (pem.encode(), pem.strip().encode(), raw):
        mac = hmac.new(secret, signing_input.encode(), function).digest()
        assert refused(f"{signing_input}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


def test_another_algorithm_is_refused(pair: services.TokenPair):
    header, claims = parts(pair.access)
    curve = generate_private_key(SECP256R1())
    pem = curve.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    assert refused(jwt.encode(claims, pem, algorithm="ES256", headers={"kid": header["kid"]}))


@pytest.mark.parametrize(
    "change",
    [
        {"exp": int(time.time()) - 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iss": "somebody else"},
        {"iss": None},
        {"token_type": "refresh"},
        {"token_type": None},
        {"jti": None},
        {"user_id": None},
        {"user_id": "1 OR 1=1"},
        {"user_id": "²"},
        {"user_id": -1},
        {"user_id": "9" * 40},
        {"iat": int(time.time()) + 3600},
    ],
    ids=lambda change: "-".join(map(str, *change.items())),
)
def test_a_token_of_ours_that_says_something_else_is_refused(pair: services.TokenPair, change: dict[str, Any]):
    header, claims = parts(pair.access)
    changed = {name: value for name, value in (claims | change).items() if value is not None}
    answer = APIClient().get(ME, headers={"Authorization": f"Bearer {signed(header, changed)}"})
    assert (answer.status_code, answer.json()["code"]) in {(401, "C006"), (404, "U001")}


def test_an_expired_token_of_the_real_clock_is_refused(pair: services.TokenPair):
    token = tokens.AccessToken()
    token["user_id"] = "1"
    token.set_exp(lifetime=timedelta(seconds=-1))
    assert refused(str(token))


def test_a_token_that_was_good_expires_all_the_same(pair: services.TokenPair, monkeypatch: pytest.MonkeyPatch):
    """Its signature is not checked again, its time is."""
    assert not refused(pair.access)
    later = timezone.now() + timedelta(minutes=16)
    monkeypatch.setattr("rest_framework_simplejwt.tokens.aware_utcnow", lambda: later)
    assert refused(pair.access)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Bearer a.b.c",
        "Bearer ....",
        "Bearer \xff",
        "Basic YTpi",
        "bearer x",
        "{}",
    ],
)
def test_what_is_no_token_is_refused(header: str):
    answer = APIClient().get(ME, headers={"Authorization": header})
    assert (answer.status_code, answer.json()["code"]) == (401, "C006")


# --- Replayed ---------------------------------------------------------------------------------------------------------
def test_a_refresh_token_is_good_once_and_for_nothing_else(pair: services.TokenPair, monkeypatch: pytest.MonkeyPatch):
    def refresh(token: str) -> int:
        return APIClient().post("/api/v1/auth/token/refresh", {"refresh": token}).status_code

    assert refused(pair.refresh)
    monkeypatch.setattr("accounts.services.GRACE", timedelta(0))
    assert (refresh(pair.access), refresh(pair.refresh), refresh(pair.refresh)) == (401, 200, 401)


@pytest.mark.django_db(databases=["accounts", "delivery", "orders"])
class TestWebhooks:
    """A carrier's message is believed for its signature, while it is young, and once."""

    path = "/api/v1/deliveries/carrier-events"

    @pytest.fixture(autouse=True)
    def delivery(self, settings: Any) -> Delivery:
        settings.CARRIER_SECRETS = {"CJ": ["the carrier's"]}
        return Delivery.objects.create(
            order_id=1,
            user_id=1,
            tracking_number="CJ1",
            carrier="CJ대한통운",
            account="CJ",
            status="PREPARING",
            due_at=timezone.now(),
        )

    def send(self, *, at: float = 0, secret: str = "the carrier's", sign: bytes | None = None, **headers: str) -> int:
        body = json.dumps({"eventId": "e1", "trackingNumber": "CJ1", "status": "IN_TRANSIT"}).encode()
        timestamp = str(int(time.time() + at))
        mac = hmac.new(secret.encode(), timestamp.encode() + b"." + (sign or body), hashlib.sha256).hexdigest()
        headers = {"X-Carrier-Timestamp": timestamp, "X-Carrier-Signature": mac} | headers
        return APIClient().post(self.path, body, content_type="application/json", headers=headers).status_code

    def test_a_replay_changes_nothing(self):
        assert [self.send(), self.send(), self.send()] == [202, 202, 202]
        assert CarrierEvent.objects.count() == 1

    @pytest.mark.parametrize(
        "forged",
        [
            {"secret": "guessed"},
            {"secret": ""},
            {"sign": b"{}"},
            {"at": -301},
            {"at": 330},
            {"X-Carrier-Timestamp": "0"},
            {"X-Carrier-Timestamp": ""},
            {"X-Carrier-Timestamp": "²"},
            {"X-Carrier-Signature": ""},
            {"X-Carrier-Signature": "0" * 64},
            {"X-Carrier-Signature": "é"},
        ],
        ids=str,
    )
    def test_forged_and_stale_ones_are_refused(self, forged: dict[str, Any]):
        assert self.send(**forged) == 401
        assert CarrierEvent.objects.count() == 0

    def test_a_customers_token_is_no_signature(self, pair: services.TokenPair):
        answer = APIClient().post(self.path, {}, headers={"Authorization": f"Bearer {pair.access}"})
        assert answer.status_code == 401


# --- Keys -------------------------------------------------------------------------------------------------------------
def test_anybody_can_check_a_token_with_the_key_set(pair: services.TokenPair):
    answer = Client().get("/api/v1/auth/jwks")
    (key,) = jwt.PyJWKSet.from_dict(answer.json()).keys

    claims = jwt.decode(pair.access, key.key, algorithms=["EdDSA"], issuer="shop")
    assert claims["role"] == "customer"
    assert key.key_id == parts(pair.access)[0]["kid"]
    assert answer.headers["Cache-Control"] == "public, max-age=3600"
    assert "d" not in answer.json()["keys"][0]

    unchanged = Client().get("/api/v1/auth/jwks", headers={"If-None-Match": answer.headers["ETag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_the_names_of_keys_are_their_thumbprints():
    """RFC 8037, appendix A: a public key and its thumbprint."""
    x = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    assert key_id(Ed25519PublicKey.from_public_bytes(x)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_a_key_is_replaced_while_tokens_of_both_are_good():
    old, new = derived_private_key("old"), derived_private_key("new")
    before = tokens.Backend("EdDSA", old, public_key(old), issuer="shop")
    meanwhile = tokens.Backend("EdDSA", new, public_key(new) + public_key(old), issuer="shop")
    after = tokens.Backend("EdDSA", new, public_key(new), issuer="shop")
    claims = {"user_id": "1"}

    for token in (before.encode(claims), meanwhile.encode(claims)):
        assert meanwhile.decode(token)["user_id"] == "1"
    assert after.decode(meanwhile.encode(claims))
    with pytest.raises(tokens.TokenBackendError):
        after.decode(before.encode(claims))
    assert [key["kid"] for key in key_set(public_key(new) + public_key(old))["keys"]] == list(
        public_keys(public_key(new) + public_key(old))
    )


def test_who_has_only_the_public_key_checks_tokens_and_makes_none(pair: services.TokenPair):
    checking = tokens.Backend("EdDSA", None, settings.SIMPLE_JWT["VERIFYING_KEY"], issuer="shop")

    assert checking.decode(pair.access)["role"] == "customer"
    with pytest.raises(ImproperlyConfigured, match="JWT_PRIVATE_KEY"):
        checking.encode({"user_id": "1", "role": "staff"})


@pytest.mark.parametrize("pem", ["", "no key", public_key(derived_private_key("x"))[:60]])
def test_what_is_no_public_key_is_refused(pem: str):
    with pytest.raises(ValueError, match="key"):
        public_keys(pem)


def test_a_process_with_a_public_key_derives_no_other(pair: services.TokenPair):
    """Whoever knows SECRET_KEY could make tokens, unless it is told which key is good."""
    shown = (
        "import django; django.setup();"
        "from django.conf import settings; from shop.api import tokens; import sys;"
        "print(settings.SIMPLE_JWT['SIGNING_KEY'], tokens.AccessToken(sys.argv[1])['role'])"
    )
    environment = {**os.environ, "JWT_PRIVATE_KEY": "", "DJANGO_SETTINGS_MODULE": "shop.settings"}
    environment["JWT_PUBLIC_KEY"] = public_key(settings.JWT_PRIVATE_KEY).replace("\n", "\\n")  # as in an .env file
    command = [sys.executable, "-c", shown, pair.access]
    answer = subprocess.run(command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True)
    assert answer.stdout == "None customer\n", answer.stderr

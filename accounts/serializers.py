"""Users and tokens on the wire."""

from copy import deepcopy
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.contacts import check_mailbox, check_name, check_phone_number, mailbox, phone_number
from accounts.models import User
from accounts.services import role_of
from shop.api.schema import example
from shop.api.serializers import Choice, Email, ModelSerializer, Moment, Serializer, Text


class Mailbox(Email):
    """An e-mail address, in the normal form that we store."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.validators.append(check_mailbox)

    def to_internal_value(self, data: Any) -> str:
        return mailbox(super().to_internal_value(data))


@extend_schema_field({"type": "string", "pattern": r"^(\+82 ?|0)10[ -]?[1-46-9][0-9]{3}[ -]?[0-9]{4}$"})
class PhoneNumber(Text):
    """A phone number, however it is written. The schema's pattern allows only some that are always valid."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.validators.append(check_phone_number)

    def to_internal_value(self, data: Any) -> str:
        return phone_number(super().to_internal_value(data))


@example(
    response={
        "id": 7,
        "email": "hana@example.com",
        "name": "김하나",
        "phone": "+821012345678",
        "language": "ko",
        "role": "customer",
        "verified": True,
        "createdAt": "2026-11-23T09:00:00Z",
        "updatedAt": "2026-11-23T09:00:00Z",
    }
)
class UserSerializer(ModelSerializer[User]):
    """A user, as shown to themselves and to staff."""

    role = serializers.SerializerMethodField()
    verified = serializers.SerializerMethodField(help_text="Whether the e-mail address is confirmed.")

    class Meta:
        model = User
        fields = ["id", "email", "name", "phone", "language", "role", "verified"]
        read_only_fields = fields

    def get_role(self, user: User) -> str:
        return role_of(user)

    def get_verified(self, user: User) -> bool:
        return user.verified_at is not None


HORSE = "correct horse 7"
HANA = {"email": "hana@example.com", "password": HORSE}


@example(request={**HANA, "name": "김하나", "phone": "010-1234-5678", "language": "ko"})
class SignUpSerializer(Serializer):
    """A sign-up."""

    email = Mailbox(max_length=254)
    password = Text(
        min_length=8, max_length=128, trim_whitespace=False, write_only=True, style={"input_type": "password"}
    )
    name = Text(max_length=100, validators=[check_name])
    phone = PhoneNumber(max_length=20, required=False, allow_blank=True, help_text="Kept as E.164, as +821012345678.")
    language = Choice(choices=User.Language.choices, required=False)


@example(request=HANA)
class CredentialsSerializer(Serializer):
    """E-mail address and password; for staff with a second factor also its code."""

    email = Text(max_length=254)
    password = Text(max_length=128, trim_whitespace=False, write_only=True, style={"input_type": "password"})
    otp = Text(max_length=20, required=False, write_only=True)


@example(request={"old": HORSE, "new": "wrong donkey 8"})
class PasswordSerializer(Serializer):
    """The old password and the new one."""

    old = Text(max_length=128, trim_whitespace=False, write_only=True, style={"input_type": "password"})
    new = Text(min_length=8, max_length=128, trim_whitespace=False, write_only=True, style={"input_type": "password"})


@example(request={"email": "hana@example.com"})
class AddressSerializer(Serializer):
    """An e-mail address."""

    email = Mailbox(max_length=254)


LINK = "0b1c6f2e8d7a4f0f9a53c1f2a7b8d9e0.3mN5x"


@example(request={"token": LINK})
class LinkSerializer(Serializer):
    """The token in an e-mailed link."""

    token = Text(max_length=200, write_only=True)


@example(request={"token": LINK, "password": "correct horse 7"})  # nosec B105
class ConfirmSerializer(LinkSerializer):
    """The token in an e-mailed link, and the account's password."""

    password = Text(max_length=128, trim_whitespace=False, write_only=True, style={"input_type": "password"})


@example(request={"token": LINK, "new": "wrong donkey 8"})
class ResetSerializer(LinkSerializer):
    """The token in an e-mailed link, and the new password."""

    new = Text(min_length=8, max_length=128, trim_whitespace=False, write_only=True, style={"input_type": "password"})


@example(
    request={
        "grant_type": "client_credentials",
        "client_id": "5f2b8c0d9e1a4b7c8d6e0f13",
        "client_secret": "q1Zs0bYk8J3m0d5tUe7cWm1oYh2sVx4aPn6rLk9gTzE",  # nosec B105
        "scope": "inventory.view_stockitem inventory.change_stockitem",
    },
    sent_as="application/x-www-form-urlencoded",
)
class GrantSerializer(Serializer):
    """The form of RFC 6749, 4.4.2. Id and secret may be sent as HTTP Basic authentication instead."""

    grant_type = Choice(choices=["client_credentials"])
    client_id = Text(max_length=200, required=False)
    client_secret = Text(max_length=200, required=False, trim_whitespace=False)
    scope = Text(
        max_length=2000, required=False, help_text="Permissions, separated by spaces; by default all of the client's."
    )

    def get_fields(self) -> dict[str, Any]:
        """Use the RFC's names rather than camelCase."""
        return {name: deepcopy(field) for name, field in self._declared_fields.items()}


@example(
    response={
        "access_token": "eyJhbGciOiJFZERTQSJ9.eyJ0eXAiOiJhIn0.c2ln",  # nosec B105
        "token_type": "Bearer",  # nosec B105
        "expires_in": 60,
        "scope": "inventory.change_stockitem inventory.view_stockitem",
    }
)
class GrantedSerializer(GrantSerializer):
    """An access token (RFC 6749, 5.1)."""

    grant_type = client_id = client_secret = None  # type: ignore[assignment]
    access_token = Text(read_only=True)
    token_type = Text(read_only=True)
    expires_in = serializers.IntegerField(read_only=True, help_text="Seconds.")
    scope = Text(read_only=True)


@example(request={"password": HORSE}, response={"erasedAfter": "2026-11-23T09:16:00Z"})
class ErasureSerializer(Serializer):
    """The password once more, as this cannot be undone; and the earliest time of the erasure."""

    password = Text(max_length=128, trim_whitespace=False, write_only=True, style={"input_type": "password"})
    erased_after = Moment(read_only=True)


@example(request={"refresh": "eyJhbGciOiJFZERTQSJ9.eyJ0eXAiOiJyIn0.c2ln"})
class RefreshSerializer(Serializer):
    """A refresh token."""

    refresh = Text(max_length=4096)


@example(
    response={
        "access": "eyJhbGciOiJFZERTQSJ9.eyJ0eXAiOiJhIn0.c2ln",
        "refresh": "eyJhbGciOiJFZERTQSJ9.eyJ0eXAiOiJyIn0.c2ln",
    }
)
class TokenPairSerializer(Serializer):
    """`access` goes into `Authorization: Bearer …`, `refresh` gets the next pair."""

    access = Text(read_only=True)
    refresh = Text(read_only=True)


class KeySerializer(Serializer):
    """A public key (RFC 7517, RFC 8037)."""

    kty = Text(read_only=True)
    crv = Text(read_only=True)
    x = Text(read_only=True)
    use = Text(read_only=True)
    alg = Text(read_only=True)
    kid = Text(read_only=True)


class KeySetSerializer(Serializer):
    """The keys that tokens are signed with. A token's header names its key as `kid`."""

    keys = KeySerializer(many=True, read_only=True)

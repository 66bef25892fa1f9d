"""Users and tokens on the wire."""

from rest_framework import serializers

from accounts.models import User
from accounts.services import role_of
from shop.api.schema import example
from shop.api.serializers import Choice, Email, ModelSerializer, Serializer, Text


@example(
    response={
        "id": 7,
        "email": "hana@example.com",
        "name": "김하나",
        "phone": "010-1234-5678",
        "language": "ko",
        "role": "customer",
        "createdAt": "2026-11-23T09:00:00Z",
        "updatedAt": "2026-11-23T09:00:00Z",
    }
)
class UserSerializer(ModelSerializer[User]):
    """A user, to themselves or to staff."""

    role = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = ["id", "email", "name", "phone", "language", "role"]
        read_only_fields = fields

    def get_role(self, user: User) -> str:
        return role_of(user)


HORSE = "correct horse 7"
HANA = {"email": "hana@example.com", "password": HORSE}


@example(request={**HANA, "name": "김하나", "phone": "010-1234-5678", "language": "ko"})
class SignUpSerializer(Serializer):
    """What it takes to become a customer."""

    email = Email(max_length=254)
    password = Text(
        min_length=8, max_length=128, trim_whitespace=False, write_only=True, style={"input_type": "password"}
    )
    name = Text(max_length=100)
    phone = Text(max_length=20, required=False, allow_blank=True, validators=User._meta.get_field("phone").validators)
    language = Choice(choices=User.Language.choices, required=False)


@example(request=HANA)
class CredentialsSerializer(Serializer):
    """E-mail address and password."""

    email = Text(max_length=254)
    password = Text(max_length=128, trim_whitespace=False, write_only=True, style={"input_type": "password"})


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
    """Each token names, as `kid` in its header, the one of these keys that it is signed with."""

    keys = KeySerializer(many=True, read_only=True)

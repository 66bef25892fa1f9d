"""Users and tokens on the wire."""

from rest_framework import serializers

from accounts.models import User
from accounts.services import role_of
from shop.api.serializers import Choice, Email, ModelSerializer, Serializer, Text


class UserSerializer(ModelSerializer):
    """A user, to themselves or to staff."""

    role = serializers.SerializerMethodField()

    class Meta:
        model = User
        fields = ["id", "email", "name", "phone", "language", "role"]
        read_only_fields = fields

    def get_role(self, user: User) -> str:
        return role_of(user)


class SignUpSerializer(Serializer):
    """What it takes to become a customer."""

    email = Email(max_length=254)
    password = Text(max_length=128, trim_whitespace=False, write_only=True, style={"input_type": "password"})
    name = Text(max_length=100)
    phone = Text(max_length=20, required=False, allow_blank=True, validators=User._meta.get_field("phone").validators)
    language = Choice(choices=User.Language.choices, required=False)


class CredentialsSerializer(Serializer):
    """E-mail address and password."""

    email = Text(max_length=254)
    password = Text(max_length=128, trim_whitespace=False, write_only=True, style={"input_type": "password"})


class RefreshSerializer(Serializer):
    """A refresh token."""

    refresh = Text(max_length=4096)


class TokenPairSerializer(Serializer):
    """`access` goes into `Authorization: Bearer …`, `refresh` gets the next pair."""

    access = Text(read_only=True)
    refresh = Text(read_only=True)

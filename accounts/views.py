"""Signing up, signing in, and reading users."""

from io import BytesIO
from typing import Any, cast

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpResponse
from django_filters import rest_framework as filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import GenericAPIView, ListAPIView, RetrieveAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import erasure, services
from accounts.guesses import TooManyGuesses
from accounts.models import User, UserManager
from accounts.second_factor import SecondFactorMissing, SecondFactorNotSetUp
from accounts.serializers import (
    CredentialsSerializer,
    ErasureSerializer,
    KeySetSerializer,
    PasswordSerializer,
    RefreshSerializer,
    SignUpSerializer,
    TokenPairSerializer,
    UserSerializer,
)
from shop.api.filters import TextFilter
from shop.api.keys import key_set
from shop.api.permissions import ANYBODY, Hiding, Own, hide, visible_to
from shop.api.renderers import ZIP, JSONRenderer, ZipRenderer
from shop.api.schema import created_at
from shop.api.throttles import ExportThrottle, SignUpThrottle, TokenThrottle
from shop.calls.personal import write_archive
from shop.contracts.accounts import UnknownUser


def _answer(pair: services.TokenPair) -> Response:
    """Respond with tokens, which no cache may keep."""
    return Response(pair._asdict(), headers={"Cache-Control": "no-store"})


class Public(GenericAPIView[Any]):
    """An endpoint for clients that have no token, or an expired one."""

    authentication_classes: list[Any] = []
    rights = {"POST": ANYBODY}

    def validated(self, request: Request) -> dict[str, Any]:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data


class TokenView(Public):
    """Sign in."""

    serializer_class = CredentialsSerializer
    throttle_classes = [TokenThrottle]
    problems = {"POST": [services.WrongCredentials, TooManyGuesses, SecondFactorMissing, SecondFactorNotSetUp]}

    @extend_schema(summary="Sign in", operation_id="sign_in", responses=TokenPairSerializer)
    def post(self, request: Request) -> Response:
        return _answer(services.sign_in(**self.validated(request), request=request))


class RefreshView(Public):
    """The next pair of tokens. A refresh token works once."""

    serializer_class = RefreshSerializer
    problems = {"POST": [services.InvalidToken]}

    @extend_schema(summary="The next pair of tokens", operation_id="token_refresh", responses=TokenPairSerializer)
    def post(self, request: Request) -> Response:
        return _answer(services.refresh(token=self.validated(request)["refresh"]))


class LogoutView(Public):
    """Sign out: the refresh token becomes invalid."""

    serializer_class = RefreshSerializer
    problems = {"POST": [services.InvalidToken]}

    @extend_schema(
        summary="Sign out", operation_id="sign_out", responses={200: OpenApiResponse({"type": "object"}, "Signed out")}
    )
    def post(self, request: Request) -> Response:
        services.sign_out(token=self.validated(request)["refresh"])
        return Response({})


class SignOutEverywhereView(APIView):
    """Sign out everywhere: all refresh tokens and sessions of the user become invalid."""

    rights = {"POST": Own()}

    @extend_schema(
        summary="Sign out everywhere", operation_id="sign_out_everywhere", request=None,
        responses={204: OpenApiResponse(description="Signed out everywhere")},
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        services.sign_out_everywhere(cast(int, request.user.pk))
        return Response(status=status.HTTP_204_NO_CONTENT)


class PasswordView(GenericAPIView[Any]):
    """Change one's password. That signs out everywhere else."""

    serializer_class = PasswordSerializer
    rights = {"POST": Own()}
    throttle_classes = [TokenThrottle]
    problems = {"POST": [services.WrongCredentials, TooManyGuesses]}

    @extend_schema(summary="Change one's password", operation_id="password_change", responses=TokenPairSerializer)
    def post(self, request: Request) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        pair = services.change_password(cast(int, request.user.pk), **serializer.validated_data, request=request)
        return _answer(pair)


class ErasureView(GenericAPIView[Any]):
    """Leave: the account is closed at once. It is erased, with everything that identifies the customer in any service,
    once the customer's tokens have expired and their orders have ended."""

    serializer_class = ErasureSerializer
    rights = {"POST": Own()}
    throttle_classes = [TokenThrottle]
    problems = {"POST": [services.WrongCredentials, TooManyGuesses, erasure.StaffStays]}

    @extend_schema(summary="Leave, and be erased", responses={202: ErasureSerializer})
    def post(self, request: Request) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        user = services.confirm(cast(int, request.user.pk), **serializer.validated_data, request=request)
        answer = self.get_serializer({"erased_after": erasure.close(user.pk)})
        return Response(answer.data, status.HTTP_202_ACCEPTED)


class ExportView(APIView):
    """All data about the user from all services, as a ZIP of JSON files."""

    rights = {"GET": Own()}
    throttle_classes = [ExportThrottle]
    renderer_classes = [JSONRenderer, ZipRenderer]  # JSON, for problems

    @extend_schema(summary="Export one's personal data", responses={(200, ZIP): OpenApiTypes.BINARY})
    def get(self, request: Request) -> HttpResponse:
        archive = BytesIO()
        write_archive(cast(int, request.user.pk), archive)
        headers = {"Cache-Control": "no-store", "Content-Disposition": 'attachment; filename="export.zip"'}
        return HttpResponse(archive.getvalue(), content_type=ZIP, headers=headers)


class KeysView(APIView):
    """The keys to verify access tokens with. Caches may keep them for an hour."""

    authentication_classes: list[Any] = []
    rights = {"GET": ANYBODY}
    serializer_class = KeySetSerializer

    @extend_schema(summary="The keys to check tokens with", operation_id="auth_jwks", responses=KeySetSerializer)
    def get(self, request: Request) -> Response:
        keys = key_set(settings.SIMPLE_JWT["VERIFYING_KEY"])
        return Response(keys, headers={"Cache-Control": "public, max-age=3600"})


class UserFilter(filters.FilterSet):
    email = TextFilter(method="by_email")

    def by_email(self, users: QuerySet[User], name: str, value: str) -> QuerySet[User]:
        return users.filter(email=UserManager.normalize_email(value))


EVERYBODY = "accounts.view_user"
HIDDEN = {"phone": "accounts.view_phone"}


@extend_schema_view(
    get=extend_schema(
        summary="Users",
        description="Oneself; with the permission all users, newest first. `email` finds one, or responds with 404.",
    )
)
class UserListView(Hiding, ListAPIView[User]):
    """Users: oneself; with the permission all users. `email` finds one. Signing up needs no token."""

    serializer_class = UserSerializer
    rights = {"GET": Own(EVERYBODY), "POST": ANYBODY}
    hidden, owner = HIDDEN, "pk"
    filterset_class = UserFilter
    throttle_classes = [SignUpThrottle]
    problems = {"GET": [UnknownUser], "POST": [services.EmailTaken]}
    queryset = User.objects.all()

    def get_authenticators(self) -> list[Any]:
        # There is no request while the schema is generated.
        signing_up = self.request is not None and self.request.method == "POST"
        return [] if signing_up else super().get_authenticators()

    def get_serializer_class(self) -> Any:
        return SignUpSerializer if self.request.method == "POST" else UserSerializer

    def get_queryset(self) -> QuerySet[User]:
        return visible_to(self.request.user, super().get_queryset(), EVERYBODY, owner="pk")

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response = super().list(request, *args, **kwargs)
        if "email" in request.query_params and not response.data["results"]:
            raise UnknownUser("There is no user with this e-mail address.")
        return response

    @extend_schema(
        summary="Sign up",
        description="Become a customer. It needs no token; the next thing is to sign in.",
        operation_id="sign_up",
        request=SignUpSerializer,
        responses={201: UserSerializer},
        parameters=[created_at(201)],
        auth=[{}],  # type: ignore[list-item]  # no authentication, which the schema would otherwise ask for
    )
    def post(self, request: Request) -> Response:
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        user = services.sign_up(**serializer.validated_data)
        headers = {"Location": f"{request.path}/{user.pk}"}
        return Response(UserSerializer(user).data, status.HTTP_201_CREATED, headers=headers)


@extend_schema_view(get=extend_schema(summary="A user", operation_id="user_read"))
class UserView(RetrieveAPIView[User]):
    """A user: oneself; with the permission any user."""

    serializer_class = UserSerializer
    rights = {"GET": Own(EVERYBODY)}
    hidden = HIDDEN
    problems = {"GET": [UnknownUser]}
    queryset = User.objects.all()
    lookup_url_kwarg = "user_id"

    def get_object(self) -> User:
        user_id = self.kwargs.get("user_id", self.request.user.pk)
        found = visible_to(self.request.user, User.objects.filter(pk=user_id), EVERYBODY, owner="pk")
        for user in hide(self.request.user, found, self.hidden, owner="pk"):
            return user
        raise UnknownUser(f"There is no user {user_id}.")


@extend_schema_view(get=extend_schema(summary="Oneself", operation_id="user_me"))
class MeView(UserView):
    """The user who sends the request."""

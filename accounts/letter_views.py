"""The endpoints behind e-mailed links: confirming an e-mail address, and resetting a password."""

from typing import cast

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import guesses, letters, services
from accounts.models import User
from accounts.serializers import AddressSerializer, ConfirmSerializer, ResetSerializer
from accounts.views import Public
from shop.api.permissions import Own
from shop.api.problems import InvalidInput
from shop.api.throttles import LetterThrottle, TokenThrottle

SENT = {202: OpenApiResponse(description="An e-mail is on its way, if there is an account to send it to")}


class ConfirmView(Public):
    """Confirm an e-mail address with the link that was sent there."""

    serializer_class = ConfirmSerializer
    throttle_classes = [TokenThrottle]
    problems = {"POST": [letters.InvalidLink, services.WrongCredentials, guesses.TooManyGuesses]}

    @extend_schema(
        summary="Confirm an e-mail address", operation_id="email_confirm",
        description="Takes the account's password: the address may be somebody else's, who has opened no account.",
        responses={204: OpenApiResponse(description="Confirmed")},
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        services.confirm_address(**self.validated(request), request=request)
        return Response(status=status.HTTP_204_NO_CONTENT)


class ConfirmationView(APIView):
    """Have the link that confirms one's e-mail address sent again, at most five times a day."""

    rights = {"POST": Own()}
    throttle_classes = [LetterThrottle]

    @extend_schema(
        summary="Send the confirmation again", operation_id="users_me_confirmation", request=None, responses=SENT
    )
    def post(self, request: Request) -> Response:
        for email in User.objects.filter(pk=cast(int, request.user.pk), verified_at=None).values_list(
            "email", flat=True
        ):
            letters.ask_to_verify(email)
        return Response(status=status.HTTP_202_ACCEPTED)


class ForgotView(Public):
    """Request a password reset link. The response is the same whether or not there is an account."""

    serializer_class = AddressSerializer
    throttle_classes = [LetterThrottle]

    @extend_schema(summary="Request a password reset", operation_id="password_forgot", responses=SENT)
    def post(self, request: Request) -> Response:
        letters.forgot(**self.validated(request))
        return Response(status=status.HTTP_202_ACCEPTED)


class ResetView(Public):
    """Reset the password with the link that was sent. That signs out everywhere."""

    serializer_class = ResetSerializer
    throttle_classes = [TokenThrottle]
    problems = {"POST": [letters.InvalidLink, InvalidInput]}

    @extend_schema(
        summary="Reset the password", operation_id="password_reset",
        responses={204: OpenApiResponse(description="The password is set, and all sign-ins have ended")},
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        letters.reset(**self.validated(request))
        return Response(status=status.HTTP_204_NO_CONTENT)

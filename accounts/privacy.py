"""The data that accounts has about a customer, for the customer to see. `erasure.py` erases it."""

from django_otp_webauthn.models import WebAuthnCredential

from accounts.models import Letter, SignIn, User
from shop.calls.personal import listed
from shop.contracts.personal import Rows

SECRET = ("public_key", "credential_id", "credential_id_sha256")


def of_user(user_id: int) -> Rows:
    """Return the data about a user. Credentials are left out: they would make the file dangerous."""
    emails = User.objects.filter(pk=user_id).values("email")
    return {
        "users": listed(User.objects.filter(pk=user_id), "password"),
        "letters": listed(Letter.objects.filter(email__in=emails).order_by("created_at"), "id", "generation"),
        "sign_ins": listed(SignIn.objects.filter(user_id=user_id).order_by("created_at"), "id", "turn"),
        "passkeys": listed(WebAuthnCredential.objects.filter(user_id=user_id).order_by("pk"), *SECRET),
    }

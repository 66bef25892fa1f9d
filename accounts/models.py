"""Users. Their sessions, groups and tokens are Django's own tables, in the same database."""

from typing import Any, ClassVar
from unicodedata import normalize
from uuid import uuid4

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models, transaction
from django.db.models.functions import Lower, Now
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.contacts import Mailbox, Phone, check_name, mailbox
from sagas import models as messages
from shop import stafflog
from shop.text import Line


class UserManager(BaseUserManager["User"]):
    """Creates users. Addresses are stored in normal form, so that another spelling opens no second account."""

    use_in_migrations = True

    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        """Return the normal form of an address, in which it is stored and looked up."""
        return mailbox(email or "")

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=self.normalize_email(username))

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a user. Raises IntegrityError if the address is taken."""
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db, force_insert=True)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a superuser, for `manage.py createsuperuser`."""
        with stafflog.by_command("createsuperuser"), transaction.atomic(using="accounts"):
            given = {
                "is_staff": True,
                "is_superuser": True,
                "verified_at": timezone.now(),
            }  # whoever runs the command vouches for the address
            user = self.create_user(email, password, **fields | given)
            stafflog.record("accounts", "add a superuser", f"user {user.pk}")
        return user


class User(AbstractBaseUser, PermissionsMixin):
    """Somebody who orders, or, with `is_staff`, somebody who runs the shop."""

    class Language(models.TextChoices):
        KO = "ko", "한국어"
        EN = "en", "English"

    email = Mailbox(unique=True)
    name = Line(max_length=100, validators=[check_name])
    phone = Phone(max_length=20, blank=True)
    language = models.CharField(max_length=2, choices=Language.choices, default=Language.KO)
    is_staff = models.BooleanField(
        "staff", default=False, help_text="Works here. What they may do is said by their groups and permissions."
    )
    is_active = models.BooleanField("active", default=True, help_text="Instead of deleting: orders refer to users.")
    verified_at = models.DateTimeField(
        "address verified at", null=True, blank=True, editable=False, help_text="Until then nothing else is sent there."
    )
    erasure_due_at = models.DateTimeField(
        "erasure due at",
        null=True,
        editable=False,
        help_text="When to see to the erasure of who has left; empty once it is done.",
    )
    erased_at = models.DateTimeField("erased at", null=True, editable=False)
    sign_outs = models.PositiveIntegerField(default=0, editable=False, help_text="How often from everywhere.")
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    objects: ClassVar[UserManager] = UserManager()

    EMAIL_FIELD = "email"
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = ["name"]

    class Meta:
        permissions = (("view_phone", "Can see phone numbers"),)
        indexes = [
            models.Index(
                fields=["erasure_due_at"],
                name="accounts_erasures",
                condition=models.Q(erasure_due_at__isnull=False),
            )
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(email=Lower("email")), name="accounts_user_email_lower_case")
        ]

    def __str__(self) -> str:
        return self.email

    def set_password(self, raw_password: str | None) -> None:
        super().set_password(raw_password and normalize("NFC", raw_password))

    def check_password(self, raw_password: str | None) -> bool:
        """Compare in normal form, as keyboards differ in the form that they send (RFC 8265)."""
        return super().check_password(raw_password and normalize("NFC", raw_password))

    def save(self, *args: Any, **options: Any) -> None:
        """End the sign-ins of a locked-out user, so that they stay ended if the account is reactivated."""
        super().save(*args, **options)
        if not self.is_active:
            self.signins.filter(ended_at=None).update(ended_at=Now())

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Bind a session to the password, until its user signs out everywhere."""
        value = f"{self.password} {self.sign_outs}"
        return salted_hmac("accounts.session", value, secret=secret, algorithm="sha256").hexdigest()

    def generation(self, secret: str | None = None) -> str:
        """Return the hash that refresh tokens are bound to: of password, role, second factors and sign-outs."""
        parts = [self.password, self.is_staff, self.is_superuser, self.sign_outs]
        if self.is_staff:
            parts += [sorted(self.groups.values_list("pk", flat=True))]
            parts += [sorted(self.user_permissions.values_list("pk", flat=True))]
            of_factors: Any = self  # django-otp's
            for devices in (of_factors.totpdevice_set, of_factors.webauthncredential_set):
                parts += [sorted(devices.filter(confirmed=True).values_list("pk", flat=True))]
        return salted_hmac("accounts.generation", repr(parts), secret=secret, algorithm="sha256").hexdigest()[:32]

    def is_of(self, generation: str) -> bool:
        """Whether this is the current generation, hashed with the present secret or an earlier one."""
        return any(generation == self.generation(one) for one in (None, *settings.SECRET_KEY_FALLBACKS))

    def clean(self) -> None:
        self.email = UserManager.normalize_email(self.email)

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name


class SignIn(models.Model):
    """A chain of refresh tokens that began with a password. Only the latest token is valid.

    No token is stored: each names its sign-in and its `turn`; the row has the latest `turn`.
    """

    id = models.UUIDField(primary_key=True, default=uuid4)
    user = models.ForeignKey(User, models.CASCADE, related_name="signins")
    turn = models.PositiveIntegerField(default=0)
    turned_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"sign-in {self.pk}"


class Client(models.Model):
    """A program that calls the API for itself, as a user of its own, which has its permissions."""

    client_id = models.CharField(max_length=32, unique=True, editable=False)
    user = models.OneToOneField(User, models.PROTECT, related_name="client", editable=False)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"client {self.client_id}"


class ClientSecret(models.Model):
    """A client's secret, as its SHA-256."""

    client = models.ForeignKey(Client, models.CASCADE, related_name="secrets")
    hash = models.CharField(max_length=64)
    expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"a secret of {self.client}"


class Letter(models.Model):
    """An e-mail with a link that works once. Its account is looked up when it is sent.

    The link is not stored: it contains the letter's id, signed (`accounts/letters.py`).
    """

    class Kind(models.TextChoices):
        VERIFY = "VERIFY"  # confirms the address
        RESET = "RESET"  # resets the password

    id = models.UUIDField(primary_key=True, default=uuid4)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    email = models.EmailField(max_length=254, db_index=True)
    generation = models.CharField(max_length=32, blank=True, help_text="The account's when it was sent.")
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(db_default=Now())
    sent_at = models.DateTimeField(null=True)
    used_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(db_index=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["due_at"], name="accounts_letters_due", condition=models.Q(sent_at=None))]

    def __str__(self) -> str:
        return f"{self.kind} {self.pk}"


class Guess(models.Model):
    """How often a password was guessed, for an account or from an address, whose hash is `key`."""

    key = models.CharField(max_length=64, primary_key=True)
    count = models.PositiveIntegerField()
    since = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.count} guesses since {self.since:%H:%M}"


class Inbox(messages.Inbox):
    """Events that accounts has handled (none today; the table is every service's)."""


class Outbox(messages.Outbox):
    """Events about erased customers, on their way to the broker."""


class Unsent(messages.Unsent):
    """The events in accounts' outbox that are not published yet."""


class DeadLetter(messages.DeadLetter):
    """Events that accounts could not handle."""


class StaffAction(stafflog.StaffAction):
    """What staff changed in accounts."""

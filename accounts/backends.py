"""Authentication by e-mail address and password: the same for the API, the admin and the browsable API."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied

from accounts import guesses


class Guarded(ModelBackend):
    """Django's backend, which also counts wrong passwords."""

    def authenticate(self, request: Any, username: str | None = None, password: str | None = None, **more: Any) -> Any:
        """Return the user, or None. Raises `PermissionDenied`, which ends the attempt, after too many guesses."""
        email = username or more.get("email") or ""
        if not guesses.take(email, request):
            raise PermissionDenied
        if user := super().authenticate(request, username=username, password=password, **more):
            guesses.give_back(email, request)
        return user

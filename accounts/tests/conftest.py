import pytest


@pytest.fixture(autouse=True)
def _quick_passwords(settings):
    """What makes a password hash good makes tests slow."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

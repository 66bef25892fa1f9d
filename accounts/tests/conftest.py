import pytest


@pytest.fixture(autouse=True)
def _quick_passwords(settings):
    """Use a fast hash: a good one would make the tests slow."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

"""Personal data on its way through the broker."""

import pytest

from shop.seal import seal, unseal

ADDRESS = "서울특별시 중구 세종대로 110"


def test_what_is_sealed_can_be_unsealed_and_not_be_read():
    sealed = seal(ADDRESS)
    assert unseal(sealed) == ADDRESS
    assert ADDRESS not in sealed
    assert seal(ADDRESS) != sealed
    assert unseal(seal("")) == ""


@pytest.mark.parametrize("garbage", ["", "x", ADDRESS, "gAAAAA", "\x00", "a" * 10_000])
def test_anything_else_cannot_be_unsealed(garbage):
    with pytest.raises(ValueError, match="not sealed with our secret"):
        unseal(garbage)


def test_one_changed_character_is_noticed():
    sealed = seal(ADDRESS)
    changed = sealed[:20] + ("A" if sealed[20] != "A" else "B") + sealed[21:]
    with pytest.raises(ValueError):
        unseal(changed)


def test_another_secret_opens_nothing(settings):
    settings.SEAL_KEY = ""
    sealed = seal(ADDRESS)
    settings.SEAL_KEY = "a secret of its own"
    with pytest.raises(ValueError):
        unseal(sealed)
    assert unseal(seal(ADDRESS)) == ADDRESS
    settings.SEAL_KEY = ""
    assert unseal(sealed) == ADDRESS

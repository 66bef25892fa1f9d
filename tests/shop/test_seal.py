"""What only one service may read, on its way through the broker."""

import pytest

from shop.seal import What, is_sealed, seal, unseal

ADDRESS = "서울특별시 중구 세종대로 110"


def sealed_for(order_id: int, what: What = What.ADDRESS) -> str:
    return seal(ADDRESS, what, order_id=order_id)


def opened(token: str, what: What = What.ADDRESS) -> str:
    return unseal(token, what, order_id=1)


def test_what_is_sealed_can_be_unsealed_and_not_be_read():
    sealed = sealed_for(1)
    assert opened(sealed) == ADDRESS
    assert ADDRESS not in sealed
    assert sealed_for(1) != sealed
    assert opened(seal("", What.ADDRESS, order_id=1)) == ""
    assert (is_sealed(sealed), is_sealed(ADDRESS)) == (True, False)


@pytest.mark.parametrize("garbage", ["", "x", ADDRESS, "gAAAAA", "sealed:", "sealed:gAAAAA", "\x00", "a" * 10_000])
def test_anything_else_cannot_be_unsealed(garbage):
    with pytest.raises(ValueError, match="not sealed with our secret, as the address of order 1"):
        opened(garbage)


def test_one_changed_character_is_noticed():
    sealed = sealed_for(1)
    changed = sealed[:20] + ("A" if sealed[20] != "A" else "B") + sealed[21:]
    with pytest.raises(ValueError):
        opened(changed)


def test_what_is_of_one_order_cannot_be_opened_in_an_event_of_another():
    with pytest.raises(ValueError):
        opened(sealed_for(2))


def test_a_token_cannot_be_opened_as_an_address():
    with pytest.raises(ValueError):
        opened(sealed_for(1, What.PAYMENT_TOKEN))
    assert opened(sealed_for(1, What.PAYMENT_TOKEN), What.PAYMENT_TOKEN) == ADDRESS


def test_another_secret_opens_nothing(settings):
    settings.SEAL_KEYS = ["one"]
    sealed = sealed_for(1)
    settings.SEAL_KEYS = ["another"]
    with pytest.raises(ValueError):
        opened(sealed)


def test_the_first_of_the_ring_seals_and_all_of_it_opens(settings):
    settings.SEAL_KEYS = ["old"]
    old = sealed_for(1)
    settings.SEAL_KEYS = ["new", "old"]
    new = sealed_for(1)
    assert opened(old) == opened(new) == ADDRESS
    settings.SEAL_KEYS = ["new"]
    assert opened(new) == ADDRESS
    with pytest.raises(ValueError):
        opened(old)

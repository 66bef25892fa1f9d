"""Calls between services."""

import pytest
from django.db import transaction

from shop.contracts.accounts import AccountsService, UserView
from shop.contracts.catalog import CatalogService
from shop.rpc import IMPLEMENTATIONS, CalledInTransaction, connect, substituting

pytestmark = pytest.mark.django_db(databases=["accounts", "catalog", "orders"])


def test_every_contract_has_its_implementation():
    for contract in IMPLEMENTATIONS:
        service = connect(contract)
        for name in (name for name in vars(contract) if name.startswith("get_")):
            assert callable(getattr(service, name))


@pytest.mark.parametrize("database", ["orders", "catalog"])
def test_no_call_inside_a_transaction(database):
    catalog = connect(CatalogService)
    with transaction.atomic(using=database), pytest.raises(CalledInTransaction, match=f"transaction on '{database}'"):
        catalog.get_products([1])
    assert catalog.get_products([1]) == {}


@pytest.mark.django_db(databases=["catalog"], transaction=True)
def test_no_call_inside_a_transaction_outside_test_cases_either():
    with transaction.atomic(using="catalog"), pytest.raises(CalledInTransaction):
        connect(CatalogService).get_products([1])
    assert connect(CatalogService).get_products([1]) == {}


def test_a_test_may_put_another_in_its_place():
    class Fake:
        def get_users(self, user_ids):
            return {user_id: UserView(id=user_id, name="Fake", email="fake@example.com") for user_id in user_ids}

    with substituting(AccountsService, Fake()):
        assert connect(AccountsService).get_users([7])[7].name == "Fake"
    assert connect(AccountsService).get_users([7]) == {}

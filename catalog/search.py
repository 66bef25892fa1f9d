"""Searches the catalogue for part of a text, ignoring case and spaces, by index.

The generated column `searched`, which is in no model, has a product's texts in lower case and without spaces. Their
single characters and pairs of characters (`catalog_grams`) are in a GIN index. A search looks up the characters and
pairs of the search text, and then compares the texts of the rows that it finds.

Pairs, not the triples of pg_trgm: most Korean words have two syllables, and the embedded PostgreSQL has no extensions.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections, transaction
from django.db.models import BooleanField, QuerySet
from django.db.models.expressions import RawSQL

from catalog.models import Product

TIMEOUT = 1000  # milliseconds for a search, which may match nearly every product

FUNCTION = """
CREATE FUNCTION catalog_grams(text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT letters || (
        SELECT array_agg(one || two) FROM unnest(letters, letters[2:]) AS pairs (one, two) WHERE two IS NOT NULL
    )
    FROM string_to_array($1, NULL) AS letters
$$
"""
SQUEEZED = r"lower(regexp_replace({}, '\s', '', 'g'))"
TEXTS = SQUEEZED.format("name || '|' || brand || '|' || description")
COLUMN = f"ALTER TABLE catalog_product ADD COLUMN searched text GENERATED ALWAYS AS ({TEXTS}) STORED"
INDEX = """
CREATE INDEX catalog_product_grams ON catalog_product USING gin (catalog_grams(searched))
    WITH (fastupdate = off)  -- products are read far more often than written
"""
SOUGHT = SQUEEZED.format("%s")
FOUND = f"catalog_grams(searched) @> catalog_grams({SOUGHT}) AND strpos(searched, {SOUGHT}) > 0"


def matching(products: QuerySet[Product], text: str) -> QuerySet[Product]:
    """Return the products whose name, brand or description contains this text."""
    found = RawSQL(FOUND, [text, text], output_field=BooleanField())  # noqa: S611 (no values in it)  # nosec B611
    return products.filter(found)


@contextmanager
def impatient() -> Iterator[None]:
    """Within the block, a statement on the catalogue is cancelled after `TIMEOUT`: an outage, answered with 503."""
    with transaction.atomic(using="catalog"):
        with connections["catalog"].cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(TIMEOUT)])
        yield

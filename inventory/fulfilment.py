"""From where an order is fulfilled. A setting, `FULFILMENT_RULE`, names the function that decides, so the owner can put
another in its place.

A rule is handed what an order wants, {product: pieces}, and what can be sold now, {location: {product: pieces}} in the
order of the locations' priority. Together the locations have enough. It returns {location: {product: pieces}}, which
adds up to what was wanted; or nothing, and the order is refused. It must not change what it is handed, and must not ask
anything outside: rows are locked while it decides.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import chain, combinations, islice

from django.conf import settings
from django.utils.module_loading import import_string

Pieces = Mapping[int, int]  # by product
Places = Mapping[str, Pieces]  # by location

MOST_TRIED = 1000  # sets of locations; of more than ten locations, not all can be tried


def fewest_locations(wanted: Pieces, free: Places) -> Places:
    """From one location that has everything; else from as few as possible. Priority decides between equals."""
    if everything := one_location(wanted, free):
        return everything
    useful = [location for location, there in free.items() if any(there.get(product, 0) > 0 for product in wanted)]
    sets = chain.from_iterable(combinations(useful, size) for size in range(2, len(useful) + 1))
    for chosen in islice(sets, MOST_TRIED):
        if all(sum(free[one].get(product, 0) for one in chosen) >= pieces for product, pieces in wanted.items()):
            return take(wanted, free, chosen)
    return take(wanted, free, useful)


def one_location(wanted: Pieces, free: Places) -> Places:
    """From one location that has everything, or not at all."""
    for location, there in free.items():
        if all(there.get(product, 0) >= pieces for product, pieces in wanted.items()):
            return {location: wanted}
    return {}


def take(wanted: Pieces, free: Places, locations: Iterable[str]) -> Places:
    """As many pieces as there are of what is wanted from each of these locations in turn, until nothing is left."""
    left, taken = dict(wanted), dict[str, Pieces]()
    for location in locations:
        there = {product: min(pieces, free[location].get(product, 0)) for product, pieces in left.items()}
        if some := {product: pieces for product, pieces in there.items() if pieces > 0}:
            taken[location] = some
            left = {product: pieces - some.get(product, 0) for product, pieces in left.items()}
    return taken


def decide(wanted: Pieces, free: Places) -> Places:
    """What the owner's rule says. Raises ValueError if that is not what was wanted, or is not there."""
    rule = _rule(settings.FULFILMENT_RULE)
    decided = rule(wanted, free)
    if rule in OURS:
        return decided
    sums = dict.fromkeys(wanted, 0)
    for location, pieces in decided.items():
        for product, quantity in pieces.items():
            if not 0 < quantity <= free.get(location, {}).get(product, 0) or product not in sums:
                raise ValueError(f"{settings.FULFILMENT_RULE}: {quantity} of product {product} from {location}")
            sums[product] += quantity
    if decided and sums != wanted:
        raise ValueError(f"{settings.FULFILMENT_RULE}: {sums}, where {dict(wanted)} were wanted")
    return decided


OURS = (fewest_locations, one_location)  # what they say is not looked at again
_rule = cache(import_string)

"""`<id:product_id>` in a path: a positive bigint in ASCII digits. Anything else is a 404."""

from shop.api.serializers import BIGGEST


class IdConverter:
    """Ids in paths."""

    regex = "[0-9]{1,19}"

    def to_python(self, value: str) -> int:
        number = int(value)
        if not 0 < number <= BIGGEST:
            raise ValueError
        return number

    def to_url(self, value: int) -> str:
        return str(value)

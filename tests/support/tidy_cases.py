"""A hook of schemathesis (schemathesis.toml): what a schema cannot say is that spaces around a text are cut off.

So it does not judge what comes of a text that ends in a hundred spaces, or begins with a line break.
"""

from typing import Any

import schemathesis

from shop.text import tidy


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Whether all texts of a case's body are tidy."""
    return all(tidy(text) == text for text in _texts(case.body))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _texts(one)]

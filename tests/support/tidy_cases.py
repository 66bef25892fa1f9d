"""What schemathesis is taught (schemathesis.toml) that a schema cannot say.

Spaces around a text are cut off, so it does not judge what comes of a text that ends in a hundred spaces. And a problem
has one of the codes that its response names in `x-codes`.
"""

from typing import Any

import schemathesis

from shop.text import tidy


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Whether all texts of a case's body are tidy."""
    return all(tidy(text) == text for text in _texts(case.body))


@schemathesis.check
def problems_are_those_named(ctx: Any, response: Any, case: Any) -> None:
    """A problem carries the status of its response, and one of its codes."""
    told = case.operation.definition.raw["responses"].get(str(response.status_code), {})
    if "x-codes" in told:
        problem = response.json()
        assert problem["status"] == response.status_code, problem
        assert problem["code"] in told["x-codes"], problem


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for one in inner for text in _texts(one)]

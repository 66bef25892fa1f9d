"""The errors that a contract declares: answers of the service, not outages."""

from inspect import cleandoc
from typing import ClassVar


class ContractError(Exception):
    """What is asked for cannot be had. A contract declares its errors in its own module, as subclasses of this.

    `code` is an error code of the API (`shop/api/problems.py`), under which clients see the error; `detail` is the
    docstring's first paragraph unless the raiser says it better.
    """

    code: ClassVar[str]

    def __init__(self, detail: str = "") -> None:
        self.detail = detail or cleandoc(type(self).__doc__ or "").partition("\n\n")[0]
        super().__init__(self.detail)

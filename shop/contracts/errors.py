"""The errors that a contract declares: answers of the service, not outages."""

from inspect import cleandoc
from typing import ClassVar


class ContractError(Exception):
    """A service refuses a call. A contract declares its errors as subclasses of this, in its own module.

    `code` is the error code that a client of the API gets (`shop/api/error_codes.py`). `detail` defaults to the first
    paragraph of the docstring.
    """

    code: ClassVar[str]

    def __init__(self, detail: str = "") -> None:
        self.detail = detail or cleandoc(type(self).__doc__ or "").partition("\n\n")[0]
        super().__init__(self.detail)

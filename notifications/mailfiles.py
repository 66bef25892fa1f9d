"""E-mails as files, which nobody but their owner reads: they have names, and what was bought."""

import os
from pathlib import Path
from typing import Any

from django.core.mail.backends import filebased


class EmailBackend(filebased.EmailBackend):
    """Django's, with a folder of mode 0700 and files of 0600."""

    stream: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        Path(self.file_path).chmod(0o700)

    def open(self) -> bool:
        if self.stream is not None:
            return False
        descriptor = os.open(
            self._get_filename(),  # type: ignore[attr-defined]  # unknown to the stubs
            os.O_WRONLY | os.O_CREAT | os.O_APPEND,
            0o600,
        )
        self.stream = os.fdopen(descriptor, "ab")
        return True

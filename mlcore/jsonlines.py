"""A file of JSON values, a line each, that a killed process leaves readable."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class JsonLines:
    """Values in the order in which they were added.

    Parameters
    ----------
    path : Path
        The file; it and its folder are made with the first value.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_whole = False

    def read(self) -> list[Any]:
        """Return every value; a line that a killed process did not finish is cut off."""
        data = self.path.read_bytes() if self.path.is_file() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(self.path, len(whole))
        self._is_whole = True
        return [json.loads(line) for line in whole.splitlines()]

    def add(self, value: Any) -> None:
        """Append one value; it is on disk when this returns."""
        if not self._is_whole:
            self.read()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(json.dumps(value).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

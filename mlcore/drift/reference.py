"""The file of sorted training values kept beside a baseline: it makes drift exact at any size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from mlcore.errors import DriftError

FORMAT: Final = 1
#: A larger reference is not kept: drift is then measured against the baseline's quantiles.
MOST_BYTES: Final = 512 * 2**20
_ALIGNMENT: Final = 64
_LENGTH: Final = 8


def pack_reference(columns: Mapping[str, np.ndarray[Any, Any]]) -> bytes:
    """Return a file's content: a header in JSON, then one aligned array a column, to be mapped into memory.

    A column whose values are all single-precision numbers is written as such.

    Parameters
    ----------
    columns : mapping of column name to ndarray of shape (n,)
        Sorted float64 without missing values, or the values of whole rows.

    Returns
    -------
    bytes
        Nothing where there are no columns.
    """
    if not columns:
        return b""
    arrays = {name: _narrowed(values) for name, values in columns.items()}
    facts = {name: [array.dtype.str, len(array)] for name, array in arrays.items()}
    header = json.dumps({"format": FORMAT, "columns": facts}).encode()
    parts = [_padded(len(header).to_bytes(_LENGTH, "little") + header)]
    parts += [_padded(array.tobytes()) for array in arrays.values()]
    return b"".join(parts)


def unpack_reference(data: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return the columns of what `pack_reference` wrote, as read-only views where they need no widening.

    Parameters
    ----------
    data : bytes or mmap
        Empty where no reference was kept.

    Raises
    ------
    DriftError
        If it is something else, or of a format this code does not know.
    """
    columns: dict[str, np.ndarray[Any, Any]] = {}
    if not len(data):
        return columns
    try:
        length = int.from_bytes(data[:_LENGTH], "little")
        facts = json.loads(data[_LENGTH : _LENGTH + length])
        if facts["format"] != FORMAT:
            raise DriftError("a drift reference of another format", expected=str(FORMAT), got=str(facts["format"]))
        offset = _aligned(_LENGTH + length)
        for name, (kind, count) in facts["columns"].items():
            columns[name] = np.frombuffer(data, dtype=np.dtype(kind), count=count, offset=offset)
            offset = _aligned(offset + columns[name].nbytes)
    except (ValueError, KeyError, TypeError) as error:
        raise DriftError(
            "this is not a drift reference", got=str(error)[:200], remedy="Train the model again."
        ) from None
    return columns


def _narrowed(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    with np.errstate(over="ignore"):
        narrow = values.astype("<f4")
    return narrow if np.array_equal(narrow, values, equal_nan=True) else values.astype("<f8", copy=False)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def _padded(data: bytes) -> bytes:
    return data.ljust(_aligned(len(data)), b"\0")

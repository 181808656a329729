"""The identity of a dataset: one digest over its schema and every row, whatever their order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

_VERSION: Final = b"mlops-dataset-1"


def table_digest(table: pa.Table) -> str:
    """Return ``sha256:<hex>`` over the schema and the multiset of rows.

    Each row is written in a fixed binary form (a presence byte, then eight bytes for a number, or length and UTF-8
    bytes for text), hashed by BLAKE2b to 128 bits, and the sorted hashes are hashed together. So the order of rows,
    the chunking and dictionary encoding do not matter, and any changed cell does. NaN is a missing value, -0.0 is 0.

    Examples
    --------
    >>> import pyarrow as pa
    >>> a, b = pa.table({"x": [1.0, 2.0]}), pa.table({"x": pa.chunked_array([[2.0], [1.0]])})
    >>> table_digest(a) == table_digest(b), table_digest(a) == table_digest(pa.table({"x": [1.0, 2.5]}))
    (True, False)
    """
    import numpy as np

    outer = hashlib.sha256(_VERSION)
    for field in table.schema:
        outer.update(f"{field.name}:{_logical(field.type)};".encode())
    outer.update(table.num_rows.to_bytes(8, "big"))
    if table.num_rows:
        hashes = np.empty((table.num_rows, 16), dtype=np.uint8)
        start = 0
        # in slices: the byte rows of a large table need not all be in memory
        for batch in table.combine_chunks().to_batches(max_chunksize=65_536):
            rows = _row_bytes(batch)
            digests = b"".join(hashlib.blake2b(row, digest_size=16).digest() for row in rows)
            hashes[start : start + len(rows)] = np.frombuffer(digests, dtype=np.uint8).reshape(-1, 16)
            start += len(rows)
        outer.update(np.sort(hashes.view("V16").ravel().view("S16")).tobytes())
    return f"sha256:{outer.hexdigest()}"


def _logical(kind: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return "string" if pa.types.is_large_string(kind) else str(kind)


def _row_bytes(batch: pa.RecordBatch) -> list[bytes]:
    """Return the fixed binary form of each row."""
    import numpy as np
    import pyarrow as pa

    fixed: list[Any] = []
    texts: list[list[bytes]] = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()  # noqa: PLW2901
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            texts.append([_text_bytes(value) for value in column.to_pylist()])
        else:
            fixed.append(_number_bytes(column))
    numbers = np.concatenate(fixed, axis=1) if fixed else np.empty((batch.num_rows, 0), dtype=np.uint8)
    width, flat = numbers.shape[1], numbers.tobytes()
    rows = [flat[index * width : (index + 1) * width] for index in range(batch.num_rows)]
    return [row + b"".join(parts) for row, *parts in zip(rows, *texts, strict=True)] if texts else rows


def _text_bytes(value: str | None) -> bytes:
    if value is None:
        return b"\x00"
    data = value.encode()
    return b"\x01" + len(data).to_bytes(4, "big") + data


def _number_bytes(column: pa.Array) -> Any:
    """Return uint8 of shape (n_rows, 9): presence, then eight bytes."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    present = pc.is_valid(column).to_numpy(zero_copy_only=False)
    if pa.types.is_floating(column.type):
        values = pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False).astype(">f8")
        present = present & ~np.isnan(values)
        values = np.where(present, values, 0.0).astype(">f8") + 0.0  # -0.0 becomes 0.0
        values = values.astype(">f8")
    elif pa.types.is_boolean(column.type):
        values = pc.cast(pc.fill_null(column, False), pa.int64()).to_numpy().astype(">i8")
    else:
        values = pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy().astype(">i8")
    values = np.ascontiguousarray(values)
    return np.concatenate([present.astype(np.uint8).reshape(-1, 1), values.view(np.uint8).reshape(-1, 8)], axis=1)

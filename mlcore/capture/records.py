"""What is kept of a scored row and of a label, as JSON on the way and as Arrow in the lake."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

    from mlcore.contract import DataContract

PREDICTION: Final = "prediction"
LABEL: Final = "label"
_KEY_FILE: Final = "hash.key"
_KEY_VARIABLE: Final = "MLOPS_HASH_KEY"


def prediction_record(
    contract: DataContract,
    row: Mapping[str, Any],
    *,
    row_id: str,
    request_id: str,
    received_at: str,
    scored_at: str,
    model_version: int,
    prediction: Any,
    probabilities: list[float] | None,
    hash_key: bytes,
) -> dict[str, Any]:
    """Return the record of one scored row; columns are left out or hashed as the contract says."""
    features = {}
    for column in contract.inputs:
        value = row.get(column.name)
        if column.capture == "plain":
            features[column.name] = value
        elif column.capture == "hash":
            features[column.name] = None if value is None else keyed_hash(str(value), hash_key)
    return {
        "kind": PREDICTION,
        "row_id": row_id,
        "request_id": request_id,
        "received_at": received_at,
        "scored_at": scored_at,
        "model_version": model_version,
        "features": features,
        "prediction": prediction,
        "probabilities": probabilities,
    }


def label_record(row_id: str, value: Any, received_at: str) -> dict[str, Any]:
    """Return the record of one true value."""
    return {"kind": LABEL, "row_id": row_id, "value": value, "received_at": received_at}


def keyed_hash(value: str, key: bytes) -> str:
    """Return HMAC-SHA256 of `value`: equal values stay equal, guessing them needs the key."""
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:32]


def hash_key(folder: Path) -> bytes:
    """Return the key of all spools in `folder`: ``MLOPS_HASH_KEY``, or one made once and kept there.

    It is outside the lake, so whoever reads captured rows cannot try values until one fits.
    """
    if given := os.environ.get(_KEY_VARIABLE):
        return given.encode()
    path = folder / _KEY_FILE
    if not path.is_file():
        unfinished = folder / f"{_KEY_FILE}.{secrets.token_hex(4)}"
        unfinished.touch(mode=0o600)
        unfinished.write_text(secrets.token_hex(32))
        try:
            # never over a key that another process made meanwhile
            path.hardlink_to(unfinished)
        except FileExistsError:
            pass
        finally:
            unfinished.unlink()
    return path.read_bytes()


def prediction_schema(contract: DataContract) -> pa.Schema:
    """Return the Arrow schema of captured rows."""
    import pyarrow as pa

    kinds = {field.name: field.type for field in contract.arrow_schema()}
    time = pa.timestamp("us", tz="UTC")
    features = [
        pa.field(column.name, kinds[column.name] if column.capture == "plain" else pa.string())
        for column in contract.inputs
        if column.capture != "omit"
    ]
    return pa.schema(
        [
            pa.field("row_id", pa.string()),
            pa.field("request_id", pa.string()),
            pa.field("received_at", time),
            pa.field("scored_at", time),
            pa.field("model_version", pa.int64()),
            *features,
            pa.field(PREDICTION, answer_type(contract)),
            pa.field("probabilities", pa.list_(pa.float64())),
        ]
    )


def label_schema(contract: DataContract) -> pa.Schema:
    """Return the Arrow schema of labels."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("row_id", pa.string()),
            pa.field("value", answer_type(contract)),
            pa.field("received_at", pa.timestamp("us", tz="UTC")),
        ]
    )


def answer_type(contract: DataContract) -> pa.DataType:
    """Return how answers are stored: numbers for regression, the target's own type for classes."""
    import pyarrow as pa

    if contract.task == "regression":
        return pa.float64()
    return contract.arrow_schema().field(contract.target.name).type

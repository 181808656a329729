"""The digest of a model: over its parameters and fitted arrays, not over the bytes of a file."""

from __future__ import annotations

import hashlib
import math
import struct
from typing import Any

import numpy as np


def model_digest(pipeline: Any, contract_digest: str) -> str:
    """Return ``sha256:<hex>`` over a canonical walk of the fitted pipeline.

    Equal data, seed and libraries give an equal digest in any process; archive time stamps, padding
    bytes and the order of dictionary keys have no part in it. Numbers of threads and of verbosity are left
    out, since they change nothing about an answer.

    Parameters
    ----------
    pipeline : object
        A fitted pipeline.
    contract_digest : str
        Binds the model to the columns it was trained on.
    """
    hasher = hashlib.sha256(contract_digest.encode())
    _walk(pipeline, hasher, [])
    return "sha256:" + hasher.hexdigest()


#: Attributes that say how to compute and not what.
_IRRELEVANT = frozenset({"n_jobs", "verbose", "_sklearn_version", "_sklearn_output_config", "sparse_fit"})


def _walk(value: Any, hasher: Any, above: list[int]) -> None:
    if isinstance(value, np.generic):
        value = value.item() if not isinstance(value, np.void) else np.asarray(value)
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        _write(hasher, type(value).__name__, _scalar_bytes(value))
    elif isinstance(value, np.ndarray):
        _walk_array(value, hasher, above)
    elif isinstance(value, (list, tuple)):
        _write(hasher, "sequence", str(len(value)).encode())
        for item in value:
            _walk(item, hasher, above)
    elif isinstance(value, (dict, set, frozenset)):
        items = sorted(value.items(), key=_key) if isinstance(value, dict) else [(k, None) for k in sorted(value)]
        _write(hasher, "mapping", str(len(items)).encode())
        for key, item in items:
            _walk(key, hasher, above)
            _walk(item, hasher, above)
    elif isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        _write(hasher, "name", f"{value.__module__}.{value.__qualname__}".encode())
    else:
        _walk_object(value, hasher, above)


def _key(item: tuple[Any, Any]) -> tuple[str, str]:
    return type(item[0]).__name__, str(item[0])


def _scalar_bytes(value: Any) -> bytes:
    if isinstance(value, float):
        return b"nan" if math.isnan(value) else struct.pack("<d", value + 0.0)
    return value if isinstance(value, bytes) else str(value).encode()


def _walk_array(array: np.ndarray[Any, Any], hasher: Any, above: list[int]) -> None:
    if array.dtype.names:
        # Field by field: the padding between fields is whatever was in memory.
        _write(hasher, "record", ",".join(array.dtype.names).encode())
        for name in array.dtype.names:
            _walk_array(array[name], hasher, above)
    elif array.dtype == object:
        _write(hasher, "objects", str(array.shape).encode())
        for item in array.ravel():
            _walk(item, hasher, above)
    else:
        plain = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
        _write(hasher, f"array {plain.dtype.str} {array.shape}", plain.tobytes())


def _walk_object(value: Any, hasher: Any, above: list[int]) -> None:
    if id(value) in above:
        _write(hasher, "cycle", b"")
        return
    kind = type(value)
    _write(hasher, "object", f"{kind.__module__}.{kind.__qualname__}".encode())
    above.append(id(value))
    if isinstance(value, (np.random.RandomState, np.random.Generator)):
        state = value.get_state() if isinstance(value, np.random.RandomState) else value.bit_generator.state
        _walk(state, hasher, above)
    elif "__dict__" in dir(value) and not hasattr(kind, "__setstate__"):
        _walk({name: item for name, item in vars(value).items() if name not in _IRRELEVANT}, hasher, above)
    elif hasattr(value, "__getstate__") and value.__getstate__() is not None:
        state = value.__getstate__()
        if isinstance(state, dict):
            state = {name: item for name, item in state.items() if name not in _IRRELEVANT}
        _walk(state, hasher, above)
    else:
        _walk(value.__reduce_ex__(2)[1], hasher, above)
    above.pop()


def _write(hasher: Any, kind: str, content: bytes) -> None:
    # Lengths in front make the walk unambiguous: no two models share a byte stream.
    hasher.update(f"{kind}:{len(content)}:".encode())
    hasher.update(content)

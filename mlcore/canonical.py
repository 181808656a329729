"""One canonical form for values (RFC 8785 JSON) and one digest over it."""

from __future__ import annotations

import hashlib
from typing import Any


def canonical_bytes(value: Any) -> bytes:
    """Serialise `value` by RFC 8785, so that equal values give equal bytes on any machine.

    Examples
    --------
    >>> canonical_bytes({"b": 1.0, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    import rfc8785

    return rfc8785.dumps(value)


def digest_bytes(data: bytes) -> str:
    """Return ``sha256:<hex>`` of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_value(value: Any) -> str:
    """Return ``sha256:<hex>`` over the canonical form of a JSON value."""
    return digest_bytes(canonical_bytes(value))

"""One canonical form for values (RFC 8785 JSON) and one digest over it."""

from __future__ import annotations

import hashlib
from json.encoder import encode_basestring
from mmap import mmap
from typing import Any, Final

from mlcore.errors import CanonicalError

_LARGEST_INTEGER: Final = 2**53 - 1


def canonical_bytes(value: Any) -> bytes:
    """Serialise `value` by RFC 8785, so that equal values give equal bytes on any machine.

    Raises
    ------
    CanonicalError
        If some part of it is not JSON, or a number that not every reader of JSON keeps: NaN, infinity, an integer
        beyond 2**53.

    Examples
    --------
    >>> canonical_bytes({"b": 1.0, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    try:
        return _text(value).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise CanonicalError(
            "a value has no canonical JSON form",
            subject="" if isinstance(error, RecursionError) else _place(value),
            expected="texts, finite numbers, integers up to 2**53, true, false, null, and lists and mappings of them",
            got=str(error)[:200],
        ) from None


def digest_bytes(data: bytes | mmap) -> str:
    """Return ``sha256:<hex>`` of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_value(value: Any) -> str:
    """Return ``sha256:<hex>`` over the canonical form of a JSON value."""
    return digest_bytes(canonical_bytes(value))


def _text(value: Any) -> str:
    """Serialise the commonest kinds here, four times faster than rfc8785 does; the rest, and what is wrong, there."""
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if kind is int and -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER:
        return str(value)
    if kind is float and 1e-4 <= abs(value) < 1e16:  # where Python writes no exponent, and neither does ECMAScript
        return repr(value).removesuffix(".0")
    if kind is list or kind is tuple:
        return f"[{','.join(map(_text, value))}]"
    # names beyond ASCII are sorted by their UTF-16, which is not the order of Python
    if kind is dict and "".join(value).isascii():
        return "{" + ",".join([f"{encode_basestring(name)}:{_text(value[name])}" for name in sorted(value)]) + "}"
    import rfc8785

    return rfc8785.dumps(value).decode()


def _place(value: Any, path: str = "") -> str:
    """Return the path of the part of `value` that cannot be serialised."""
    import rfc8785

    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for name, part in parts:
        try:
            rfc8785.dumps(part)
        except ValueError:
            return _place(part, f"{path}.{name}" if path else str(name))
    return path

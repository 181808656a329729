"""Reading a model's folder: every digest first, then a fixed trust list, then the model's own digest."""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mlcore.canonical import digest_bytes
from mlcore.errors import ModelFileError, UseCaseError, os_reason
from mlcore.modelstore.bundle import (
    BASELINE,
    DUMMY,
    FORMAT,
    GOLDEN,
    MANIFEST,
    METADATA,
    MODEL,
    PERFORMANCE,
    REFERENCE,
    Golden,
    LoadedModel,
    ModelMetadata,
    contract_digest,
)
from mlcore.modelstore.identity import model_digest
from mlcore.modelstore.places import Place, place_of
from mlcore.modelstore.trust import TRUSTED_TYPES
from mlcore.usecase import parse_usecase

if TYPE_CHECKING:
    from mlcore.contract import DataContract

_REMEDY: Final = "Nothing was executed. Restore the folder from a copy, or train again."
_NAMED_BY_CONTENT: Final = re.compile(r"[0-9a-f]{16}-([0-9a-f]{32})")
_PARTS: Final = (MODEL, DUMMY, METADATA, BASELINE, GOLDEN)


def load_model(uri: str | Path, expected_digest: str, contract: DataContract | None = None) -> LoadedModel:
    """Load the model in the folder at `uri`.

    Parameters
    ----------
    uri : str or Path
        What `save_model` returned; a path, a ``file://`` or an ``s3://`` address.
    expected_digest : str
        The digest that the ledger holds.
    contract : DataContract, optional
        If given, the model must have been trained under an equal one.

    Raises
    ------
    ModelFileError
        If a file is missing, changed, truncated, not of our making, holds a type that is not on the fixed
        list, or the model is not the one expected.
    """
    place = place_of(str(uri))
    manifest_bytes = _read(place, MANIFEST)
    manifest = _json(manifest_bytes, place.where(MANIFEST))
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or not isinstance(manifest["files"], dict):
        raise _refused(place.where(MANIFEST), f"a manifest of format {FORMAT}", "something else")
    named = _NAMED_BY_CONTENT.fullmatch(place.name)
    if named and not digest_bytes(manifest_bytes).startswith(f"sha256:{named[1]}"):
        raise _refused(place.where(MANIFEST), "the manifest that the folder is named after", "another")
    if manifest.get("digest") != expected_digest:
        raise _refused(str(uri), f"model {expected_digest}", str(manifest.get("digest")))
    parts = {name: _checked(place, name, manifest["files"].get(name)) for name in _PARTS}
    facts = _json(parts[METADATA], place.where(METADATA))
    try:
        usecase = parse_usecase(facts["usecase"], source=place.where(METADATA))
        metadata = ModelMetadata.from_json(facts["model"])
        golden = _json(parts[GOLDEN], place.where(GOLDEN))
        kept = Golden(rows=tuple(golden["rows"]), expected=tuple(golden["expected"]))
    except (UseCaseError, KeyError, TypeError) as error:
        raise _refused(place.where(METADATA), "metadata of this library", str(error)[:200]) from None
    if contract is not None and contract != usecase.contract:
        raise _refused(str(uri), "a model trained under this contract", "one of another contract")
    pipeline = _unpack(parts[MODEL], place.where(MODEL))
    found = model_digest(pipeline, contract_digest(usecase))
    if found != expected_digest:
        raise _refused(place.where(MODEL), f"model {expected_digest}", found)
    return LoadedModel(
        pipeline=pipeline,
        dummy=_unpack(parts[DUMMY], place.where(DUMMY)),
        digest=found,
        uri=str(uri),
        size_bytes=sum(len(data) for data in parts.values()) + len(manifest_bytes),
        usecase=usecase,
        metadata=metadata,
        baseline=parts[BASELINE],
        golden=kept,
        reference_digest=manifest["files"].get(REFERENCE),
        performance_digest=manifest["files"].get(PERFORMANCE),
    )


def load_reference(model: LoadedModel) -> mmap.mmap | bytes:
    """Map the model's file of sorted training values into memory, its digest checked.

    Returns
    -------
    mmap or bytes
        Nothing where none was saved, as by older versions, or where it was left out of a copy, as of a service's.

    Raises
    ------
    ModelFileError
        If it is not the file that was saved.
    """
    return _optional(model, REFERENCE, model.reference_digest)


def load_performance(model: LoadedModel) -> bytes:
    """Read what estimates the model's performance without labels, its digest checked.

    Returns
    -------
    bytes
        Nothing where none was saved, as by older versions, or where it was left out of a copy, as of a service's.

    Raises
    ------
    ModelFileError
        If it is not the file that was saved.
    """
    return bytes(_optional(model, PERFORMANCE, model.performance_digest))


def _optional(model: LoadedModel, name: str, expected: str | None) -> mmap.mmap | bytes:
    if expected is None:
        return b""
    place = place_of(model.uri)
    try:
        data = place.map(name) if place.exists(name) else None
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise _refused(place.where(name), "a readable file", str(error)) from None
    if data is None:
        return b""
    if digest_bytes(data) != expected:
        raise _refused(place.where(name), expected, digest_bytes(data))
    return data


def _read(place: Place, name: str) -> bytes:
    try:
        return place.read(name)
    except OSError as error:
        raise _refused(place.where(name), "a readable file", os_reason(error)) from None


def _checked(place: Place, name: str, expected: str | None) -> bytes:
    data = _read(place, name)
    if digest_bytes(data) != expected:
        raise _refused(place.where(name), expected or "a file that the manifest lists", digest_bytes(data))
    return data


def _json(data: bytes, where: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise _refused(where, "JSON", f"{len(data)} bytes of something else") from None


def _unpack(data: bytes, where: str) -> Any:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    if not data.startswith(b"PK"):
        raise _refused(where, "a skops archive", "another kind of file; pickles are never loaded")
    try:
        return skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException as error:
        raise _refused(where, "only types of the fixed trust list", str(error)[:200]) from None
    except Exception as error:  # noqa: BLE001 - a hostile archive can make the reader fail in any way
        raise _refused(where, "a skops archive that can be read", f"{type(error).__name__}: {error}"[:200]) from None


def _refused(where: str, expected: str, got: str) -> ModelFileError:
    return ModelFileError("a model file is refused", subject=where, expected=expected, got=got, remedy=_REMEDY)

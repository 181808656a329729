"""Reading a model's folder: every digest first, then a fixed trust list, then the model's own digest."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlparse

from mlcore.canonical import digest_bytes
from mlcore.errors import ModelFileError, UseCaseError
from mlcore.modelstore.bundle import (
    BASELINE,
    DUMMY,
    FORMAT,
    GOLDEN,
    MANIFEST,
    METADATA,
    MODEL,
    Golden,
    LoadedModel,
    ModelMetadata,
    contract_digest,
)
from mlcore.modelstore.identity import model_digest
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
        What `save_model` returned; a path or a ``file://`` address.
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
    folder = _folder_of(str(uri))
    manifest_bytes = _read(folder / MANIFEST)
    manifest = _json(manifest_bytes, folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or not isinstance(manifest["files"], dict):
        raise _refused(folder / MANIFEST, f"a manifest of format {FORMAT}", "something else")
    named = _NAMED_BY_CONTENT.fullmatch(folder.name)
    if named and not digest_bytes(manifest_bytes).startswith(f"sha256:{named[1]}"):
        raise _refused(folder / MANIFEST, "the manifest that the folder is named after", "another")
    if manifest.get("digest") != expected_digest:
        raise _refused(folder, f"model {expected_digest}", str(manifest.get("digest")))
    parts = {name: _checked(folder / name, manifest["files"].get(name)) for name in _PARTS}
    facts = _json(parts[METADATA], folder / METADATA)
    try:
        usecase = parse_usecase(facts["usecase"], source=str(folder / METADATA))
        metadata = ModelMetadata.from_json(facts["model"])
        golden = _json(parts[GOLDEN], folder / GOLDEN)
        kept = Golden(rows=tuple(golden["rows"]), expected=tuple(golden["expected"]))
    except (UseCaseError, KeyError, TypeError) as error:
        raise _refused(folder / METADATA, "metadata of this library", str(error)[:200]) from None
    if contract is not None and contract != usecase.contract:
        raise _refused(folder, "a model trained under this contract", "one of another contract")
    pipeline = _unpack(parts[MODEL], folder / MODEL)
    found = model_digest(pipeline, contract_digest(usecase))
    if found != expected_digest:
        raise _refused(folder / MODEL, f"model {expected_digest}", found)
    return LoadedModel(
        pipeline=pipeline,
        dummy=_unpack(parts[DUMMY], folder / DUMMY),
        digest=found,
        uri=str(uri),
        size_bytes=sum(len(data) for data in parts.values()) + len(manifest_bytes),
        usecase=usecase,
        metadata=metadata,
        baseline=parts[BASELINE],
        golden=kept,
    )


def _folder_of(uri: str) -> Path:
    parsed = urlparse(uri)
    if parsed.scheme == "file":
        return Path(unquote(parsed.path))
    if "://" in uri:
        raise _refused(Path(uri), "a path or a file:// address", f"{parsed.scheme}://")
    return Path(uri)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _refused(path, "a readable file", error.strerror or type(error).__name__) from None


def _checked(path: Path, expected: str | None) -> bytes:
    data = _read(path)
    if digest_bytes(data) != expected:
        raise _refused(path, expected or "a file that the manifest lists", digest_bytes(data))
    return data


def _json(data: bytes, path: Path) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise _refused(path, "JSON", f"{len(data)} bytes of something else") from None


def _unpack(data: bytes, path: Path) -> Any:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    if not data.startswith(b"PK"):
        raise _refused(path, "a skops archive", "another kind of file; pickles are never loaded")
    try:
        return skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    except UntrustedTypesFoundException as error:
        raise _refused(path, "only types of the fixed trust list", str(error)[:200]) from None
    except Exception as error:  # noqa: BLE001 - a hostile archive can make the reader fail in any way
        raise _refused(path, "a skops archive that can be read", f"{type(error).__name__}: {error}"[:200]) from None


def _refused(path: Path, expected: str, got: str) -> ModelFileError:
    return ModelFileError("a model file is refused", subject=str(path), expected=expected, got=got, remedy=_REMEDY)

"""A Bento for a model version: pinned environment, code, model, manifests."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from bentos.targets.container import write_containerfile
from bentos.targets.kubernetes import write_manifests
from mlcore.canonical import digest_bytes, digest_value
from mlcore.errors import PackagingError

if TYPE_CHECKING:
    from mlcore.usecase import UseCase

PROJECT: Final = Path(__file__).resolve().parent.parent
_NOT_SERVING: Final = shutil.ignore_patterns("__pycache__", "*.pyc", "migrations")


@dataclass(frozen=True, slots=True)
class BuiltBento:
    """A Bento in the store."""

    tag: str
    path: Path
    digest: str


def build(
    *,
    model_uri: str,
    model_digest: str,
    usecase: UseCase,
    model_version: int,
    bentoml_home: Path,
    lock_file: Path,
) -> BuiltBento:
    """Build the Bento of a model version; one that is there already is returned as it is.

    Parameters
    ----------
    model_uri, model_digest : str
        The model's folder and the digest it must have.
    usecase : UseCase
    model_version : int
    bentoml_home : Path
        BentoML's store.
    lock_file : Path
        The hashed requirements that training used; the service is pinned to the same.

    Raises
    ------
    PackagingError
        If the model's folder is gone or BentoML refuses.
    """
    os.environ["BENTOML_HOME"] = str(bentoml_home)
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
    bentoml_home.mkdir(parents=True, exist_ok=True)
    import bentoml
    from bentoml.exceptions import BentoMLException, NotFound

    name = f"mlops-{usecase.name.replace('_', '-')}"
    version = f"v{model_version}-{model_digest.removeprefix('sha256:')[:12]}"
    try:
        known = bentoml.get(f"{name}:{version}")
        return BuiltBento(f"{name}:{version}", Path(known.path), bento_digest(Path(known.path)))
    except NotFound:
        pass
    with tempfile.TemporaryDirectory(prefix="mlops-bento-") as scratch:
        context = Path(scratch)
        _stage(context, Path(unquote(urlsplit(model_uri).path)), model_digest, usecase.name, model_version, lock_file)
        try:
            bento = bentoml.build(
                service="bentos.service:ModelService",
                name=name,
                version=version,
                build_ctx=str(context),
                include=["mlcore/**", "bentos/**", "bundle/**"],
                labels={
                    "usecase": usecase.name,
                    "model_version": str(model_version),
                    "model_digest": model_digest[:63],
                },
                python={"requirements_txt": "requirements.txt", "lock_packages": False},
            )
        except (BentoMLException, OSError) as error:
            raise PackagingError(
                "the Bento cannot be built", subject=f"{name}:{version}", got=str(error)[:300]
            ) from error
    path = Path(bento.path)
    write_containerfile(path)
    write_manifests(path, usecase, model_version, f"{name}:{version}")
    return BuiltBento(str(bento.tag), path, bento_digest(path))


def bento_digest(path: Path) -> str:
    """Return the digest over the sources, the model and the requirements in a Bento: what it will answer with."""
    files = sorted(file for folder in ("src", "env/python") for file in (path / folder).rglob("*") if file.is_file())
    kept = [file for file in files if "__pycache__" not in file.parts]
    return digest_value({str(file.relative_to(path)): digest_bytes(file.read_bytes()) for file in kept})


def _stage(context: Path, model: Path, digest: str, usecase: str, version: int, lock_file: Path) -> None:
    if not model.is_dir():
        raise PackagingError("the model's folder is gone", subject=str(model), remedy="Restore it, or train again.")
    for package in ("mlcore", "bentos"):
        shutil.copytree(PROJECT / package, context / package, ignore=_NOT_SERVING)
    shutil.copytree(model, context / "bundle" / "model")
    facts = {"usecase": usecase, "model_version": version, "digest": digest}
    (context / "bundle" / "service.json").write_text(json.dumps(facts, sort_keys=True))
    shutil.copyfile(lock_file, context / "requirements.txt")

"""A Bento for a model version: pinned environment, code, model, manifests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bentos.targets.container import write_containerfile
from bentos.targets.kubernetes import write_manifests
from mlcore.canonical import digest_bytes, digest_value
from mlcore.errors import ModelFileError, PackagingError
from mlcore.failpoints import failpoint
from mlcore.modelstore.bundle import METADATA
from mlcore.owncode import code_file

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
    OwnCodeError
        If own code that the model was trained with is not there.
    """
    name = f"mlops-{usecase.name.replace('_', '-')}"
    version = f"v{model_version}-{model_digest.removeprefix('sha256:')[:12]}"
    tag, path = f"{name}:{version}", bentoml_home / "bentos" / name / version
    if not path.is_dir():
        bentoml_home.mkdir(parents=True, exist_ok=True)
        failpoint("bento.before-build")
        with tempfile.TemporaryDirectory(prefix=".building-", dir=bentoml_home) as scratch:
            built = _build(
                Path(scratch),
                _Order(name, version, usecase.name, model_version, model_digest),
                model_uri,
                lock_file,
            )
            write_containerfile(built)
            write_manifests(built, usecase, model_version, tag)
            path.parent.mkdir(parents=True, exist_ok=True)
            # whole under its name, or not there: whatever is killed when, and if another built the same meanwhile
            failpoint("bento.before-rename")
            with contextlib.suppress(OSError):
                built.rename(path)
            if not path.is_dir():
                raise PackagingError("the Bento cannot be put into the store", subject=tag, got=str(path.parent))
    failpoint("bento.after-rename")
    return BuiltBento(tag, path, bento_digest(path))


@dataclass(frozen=True, slots=True)
class _Order:
    """What to build."""

    name: str
    version: str
    usecase: str
    model_version: int
    model_digest: str


def _build(scratch: Path, order: _Order, model_uri: str, lock_file: Path) -> Path:
    """Build in a store of its own, in a process of its own: BentoML keeps the first store it sees for good."""
    # BentoML takes no files from below a hidden folder, such as .mlops
    with tempfile.TemporaryDirectory(prefix="mlops-bento-") as context:
        _stage(Path(context), order, model_uri, lock_file)
        command = ["-m", "bentoml", "build", context, "--name", order.name, "--version", order.version]
        done = subprocess.run(
            [sys.executable, *command],
            cwd=context,
            env={**os.environ, "BENTOML_HOME": str(scratch), "BENTOML_DO_NOT_TRACK": "true"},
            capture_output=True,
            text=True,
            check=False,
        )
    path = scratch / "bentos" / order.name / order.version
    if done.returncode != 0 or not path.is_dir():
        raise PackagingError(
            "the Bento cannot be built",
            subject=f"{order.name}:{order.version}",
            got=(done.stderr or done.stdout).strip()[-400:],
        )
    return path


def bento_digest(path: Path) -> str:
    """Return the digest over the sources, the model and the requirements in a Bento: what it will answer with."""
    files = sorted(file for folder in ("src", "env/python") for file in (path / folder).rglob("*") if file.is_file())
    kept = [file for file in files if "__pycache__" not in file.parts]
    return digest_value({str(file.relative_to(path)): digest_bytes(file.read_bytes()) for file in kept})


def _stage(context: Path, order: _Order, model_uri: str, lock_file: Path) -> None:
    import yaml

    from mlcore.modelstore import copy_place
    from mlcore.modelstore.bundle import MONITORING

    for package in ("mlcore", "bentos"):
        shutil.copytree(PROJECT / package, context / package, ignore=_NOT_SERVING)
    model = context / "bundle" / "model"
    try:
        copy_place(model_uri, model, leave_out=MONITORING)
    except ModelFileError as error:
        raise PackagingError(
            "the model's folder is gone", subject=model_uri, got=error.got, remedy="Restore it, or train again."
        ) from error
    for digest in _own_code(model):
        file = code_file(digest)
        (context / "bundle" / "usecase").mkdir(exist_ok=True)
        shutil.copyfile(file, context / "bundle" / "usecase" / file.name)
    facts = {"usecase": order.usecase, "model_version": order.model_version, "digest": order.model_digest}
    (context / "bundle" / "service.json").write_text(json.dumps(facts, sort_keys=True))
    shutil.copyfile(lock_file, context / "requirements.txt")
    recipe = {
        "service": "bentos.service:ModelService",
        "include": ["mlcore/**", "bentos/**", "bundle/**"],
        "labels": {
            "usecase": order.usecase,
            "model_version": str(order.model_version),
            "model_digest": order.model_digest[:63],
        },
        "python": {"requirements_txt": "requirements.txt", "lock_packages": False},
    }
    (context / "bentofile.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")


def _own_code(model: Path) -> set[str]:
    """Return the digests of the own code that the model was trained with."""
    steps = json.loads((model / METADATA).read_text(encoding="utf-8"))["usecase"]["training"]["features"]
    return {step["code"] for step in steps if step.get("code")}

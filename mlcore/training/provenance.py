"""What a model came from besides its data: code, lock and libraries."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from mlcore.canonical import digest_bytes

LOCK_FILE: Final = "requirements.lock"
LIBRARIES: Final = ("numpy", "scipy", "pandas", "pyarrow", "scikit-learn", "skops", "numba", "deltalake", "mlops-loop")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Code commit (empty outside git), whether the tree differed from it, digest of the lock, versions."""

    code_commit: str
    code_dirty: bool
    lock_digest: str
    libraries: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for metadata files."""
        return {
            "code_commit": self.code_commit,
            "code_dirty": self.code_dirty,
            "lock_digest": self.lock_digest,
            "libraries": dict(self.libraries),
        }


def provenance(root: Path) -> Provenance:
    """Return where the code in `root` stands; nothing is an error, what is not known is empty."""
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no") if commit else ""
    lock = root / LOCK_FILE
    return Provenance(
        code_commit=commit.strip(),
        code_dirty=bool(changes.strip()),
        lock_digest=digest_bytes(lock.read_bytes()) if lock.is_file() else "",
        libraries={"python": sys.version.split()[0], **libraries()},
    )


def libraries() -> dict[str, str]:
    """Return the installed versions of the libraries that a model depends on."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(root: Path, *arguments: str) -> str:
    try:
        finished = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return finished.stdout if finished.returncode == 0 else ""

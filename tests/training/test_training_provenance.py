"""What is known about the code a model came from."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mlcore.canonical import digest_bytes
from mlcore.training.provenance import provenance


def _git(folder: Path, *arguments: str) -> None:
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *author, *arguments], cwd=folder, check=True, capture_output=True)


def test_commit_dirt_and_lock_are_recorded(tmp_path: Path) -> None:
    """A clean checkout has its commit; a changed file makes it dirty; the lock has its digest."""
    (tmp_path / "requirements.lock").write_text("numpy==1\n")
    _git(tmp_path, "init")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-m", "First")
    clean = provenance(tmp_path)
    (tmp_path / "requirements.lock").write_text("numpy==2\n")
    dirty = provenance(tmp_path)
    assert (len(clean.code_commit), clean.code_dirty, dirty.code_dirty) == (40, False, True)
    assert clean.lock_digest == digest_bytes(b"numpy==1\n")
    assert clean.libraries["scikit-learn"]


def test_outside_git_nothing_is_claimed(tmp_path: Path) -> None:
    """Without a repository and a lock the fields are empty."""
    found = provenance(tmp_path)
    assert (found.code_commit, found.code_dirty, found.lock_digest) == ("", False, "")

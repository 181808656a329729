"""A use case's own feature functions: plain code in its folder, never in a model's file.

A model keeps the function's name and the digest of the file it was trained with. Whoever loads the use case makes
the files of its folder known by their digests; a model then gets the very code it was trained with, or a refusal.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from mlcore.canonical import digest_bytes
from mlcore.errors import OwnCodeError

FILE: Final = "features.py"
#: What else in the folder models may have been trained with: copies of the file as it was, such as features_2025.py.
_ALL_FILES: Final = "features*.py"

#: Files that use cases made known, by the digest of what was in them then.
_known: Final[dict[str, Path]] = {}


def find_code(folder: Path) -> str:
    """Make the own code in a folder known to models; nothing is executed.

    Parameters
    ----------
    folder : Path
        With ``features.py``, and earlier versions of it, kept beside it for models that were trained with them.

    Returns
    -------
    str
        The digest of ``features.py``; empty where there is none.
    """
    digests = {file.name: digest_bytes(file.read_bytes()) for file in sorted(folder.glob(_ALL_FILES))}
    _known.update({digest: folder / name for name, digest in digests.items()})
    return digests.get(FILE, "")


def code_folders() -> tuple[Path, ...]:
    """Return the folders whose code is known, for another process to make it known, too."""
    return tuple(sorted({path.parent.resolve() for path in _known.values()}))


def code_file(digest: str) -> Path:
    """Return the file with this digest.

    Raises
    ------
    OwnCodeError
        If none is known, or it has changed.
    """
    _source(digest)
    return _known[digest]


def defined_functions(digest: str) -> list[str]:
    """Return the names of the functions in the file with this digest, which is not executed.

    Raises
    ------
    OwnCodeError
        If no such file is known, it has changed, or it is not Python.
    """
    source = _source(digest)
    try:
        return [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    except (SyntaxError, ValueError) as error:
        path = str(_known[digest])
        raise OwnCodeError("own code is not Python", subject=path, got=str(error), remedy="Mend it.") from None


def own_function(digest: str, name: str) -> Callable[[dict[str, Any]], Any]:
    """Return the function `name` of the file with this digest.

    Raises
    ------
    OwnCodeError
        If no file with this digest is known, it has changed, cannot be executed, or has no such function.
    """
    function = getattr(_module(digest), name, None)
    if not callable(function):
        raise OwnCodeError("no such function", subject=str(_known[digest]), expected=name)
    return function


@functools.cache
def _module(digest: str) -> ModuleType:
    source = _source(digest)
    module = ModuleType(f"usecase_features_{digest[-12:]}")
    try:
        exec(compile(source, str(_known[digest]), "exec"), module.__dict__)
    except Exception as error:  # own code can fail in any way
        raise OwnCodeError(
            "own code cannot be executed", subject=str(_known[digest]), got=f"{type(error).__name__}: {error}"[:300]
        ) from error
    return module


def _source(digest: str) -> bytes:
    path = _known.get(digest)
    source = path.read_bytes() if path is not None and path.is_file() else None
    if source is None or digest_bytes(source) != digest:
        raise OwnCodeError(
            "the code that the model was trained with is not there",
            subject=str(path or FILE),
            expected=digest,
            got="another" if source is not None else "none",
            remedy=f"Put that version of {FILE} beside it, under a name such as features_before.py; or train again.",
        )
    return source

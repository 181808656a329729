"""Where model folders are: on a disk or in an object store; whole under their name, and written once."""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import unquote, urlparse

from mlcore.errors import ModelFileError, StorageError, os_reason
from mlcore.failpoints import failpoint
from mlcore.modelstore.bundle import MANIFEST

if TYPE_CHECKING:
    from pyarrow import fs

_REMEDY: Final = "Free some space or check the permissions, then start the training again."


class Place(Protocol):
    """The folder of one model."""

    @property
    def name(self) -> str:
        """The folder's own name."""

    @property
    def uri(self) -> str:
        """Its address, as the ledger keeps it."""

    def where(self, name: str) -> str:
        """Return the address of a file in it, to be told to people."""

    def exists(self, name: str) -> bool:
        """Return whether a file is there."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes; OSError where there is none."""

    def map(self, name: str) -> mmap.mmap | bytes:
        """Return a file's bytes, where possible without holding them in memory."""

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write all of `files`, or nothing that anybody sees; what is there already stays as it is."""


def place_of(uri: str) -> Place:
    """Return the folder at a path, ``file://`` or ``s3://`` address.

    Raises
    ------
    ModelFileError
        If it is an address of another kind.
    """
    parsed = urlparse(uri)
    if parsed.scheme == "s3":
        return RemotePlace(uri.rstrip("/"))
    if parsed.scheme == "file":
        return LocalPlace(Path(unquote(parsed.path)))
    if "://" in uri:
        raise ModelFileError(
            "a model cannot be there",
            subject=uri,
            expected="a path, a file:// or an s3:// address",
            got=f"{parsed.scheme}://",
        )
    return LocalPlace(Path(uri))


def copy_place(uri: str, folder: Path, leave_out: Collection[str] = ()) -> None:
    """Copy a model's files into a new folder on this machine's disk.

    Raises
    ------
    ModelFileError
        If they are not there.
    """
    place = place_of(uri)
    try:
        names = _listed(place) - set(leave_out)
        folder.mkdir(parents=True)
        for name in sorted(names):
            (folder / name).write_bytes(place.read(name))
    except OSError as error:
        raise ModelFileError(
            "the model's folder cannot be copied",
            subject=place.uri,
            got=str(error).splitlines()[0][:200],
            remedy="Restore it, or train again.",
        ) from error


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A folder on a disk: written under another name, flushed, then renamed."""

    folder: Path

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.folder.name

    @property
    def uri(self) -> str:
        """Its ``file://`` address."""
        return self.folder.resolve().as_uri()

    def where(self, name: str) -> str:
        """Return a file's path."""
        return str(self.folder / name)

    def exists(self, name: str) -> bool:
        """Return whether a file is there."""
        return (self.folder / name).exists()

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        return (self.folder / name).read_bytes()

    def map(self, name: str) -> mmap.mmap | bytes:
        """Map a file into memory."""
        with (self.folder / name).open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write the folder; two processes may write the same one at once.

        Raises
        ------
        StorageError
            If the disk takes no more.
        """
        place = self.folder
        if place.is_dir():
            return
        unfinished = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        try:
            unfinished.mkdir(parents=True)
            for name, data in files.items():
                failpoint("model.before-file")
                with (unfinished / name).open("xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                (unfinished / name).chmod(0o444)
            _sync_folder(unfinished)
            failpoint("model.before-rename")
            unfinished.rename(place)
            failpoint("model.after-rename")
            _sync_folder(place.parent)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            # Another process may have written the very same bytes first; its folder is as good as ours.
            if not place.is_dir():
                raise _unwritten(str(place), error) from error


@dataclass(frozen=True)
class RemotePlace:
    """Objects below a prefix of an S3 bucket: the manifest is written last, and without it there is no model.

    Credentials, region and endpoint come from the usual ``AWS_*`` variables.
    """

    uri: str

    @property
    def name(self) -> str:
        """The last part of the prefix."""
        return self.uri.rsplit("/", 1)[-1]

    def where(self, name: str) -> str:
        """Return an object's address."""
        return f"{self.uri}/{name}"

    def exists(self, name: str) -> bool:
        """Return whether an object is there."""
        system, path = self._opened
        return bool(system.get_file_info(f"{path}/{name}").is_file)

    def read(self, name: str) -> bytes:
        """Return an object's bytes."""
        system, path = self._opened
        with system.open_input_stream(f"{path}/{name}") as stream:
            return bytes(stream.read())

    def map(self, name: str) -> mmap.mmap | bytes:
        """Return an object's bytes."""
        return self.read(name)

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write the objects, the manifest last.

        Who writes at the same time, or again after a kill, writes the same bytes: the prefix ends in their digest.

        Raises
        ------
        StorageError
            If the store cannot be reached or refuses.
        """
        try:
            if self.exists(MANIFEST):
                return
            system, path = self._opened
            for name in sorted(files, key=lambda name: name == MANIFEST):
                with system.open_output_stream(f"{path}/{name}") as stream:
                    stream.write(files[name])
        except OSError as error:
            raise _unwritten(self.uri, error) from error

    @cached_property
    def _opened(self) -> tuple[fs.FileSystem, str]:
        """The store and the path in it; asked for once, because the store is asked for its region."""
        from pyarrow import fs

        found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(self.uri)
        return found


def _listed(place: Place) -> set[str]:
    """Return the files that the manifest lists, and the manifest."""
    import json

    try:
        return {MANIFEST, *json.loads(place.read(MANIFEST))["files"]}
    except (ValueError, KeyError, TypeError):
        raise ModelFileError("a model file is refused", subject=place.where(MANIFEST), expected="a manifest") from None


def _unwritten(subject: str, error: OSError) -> StorageError:
    return StorageError("a model cannot be written", subject=subject, got=os_reason(error), remedy=_REMEDY)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

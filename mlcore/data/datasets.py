"""Dataset versions in Delta Lake: one table a version, named after its content, made by one commit, never changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlcore.data.digest import table_digest
from mlcore.errors import DatasetError
from mlcore.failpoints import failpoint

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

_DIGEST: Final = "mlops.digest"


@dataclass(frozen=True, slots=True)
class StoredTable:
    """Where a dataset version is: the Delta table, its version, the content's digest and its rows."""

    uri: str
    table_version: int
    digest: str
    rows: int


class DatasetStore:
    """The lake.

    Parameters
    ----------
    root : str
        A folder or an ``s3://`` address; each use case has its Delta tables below it.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/")

    def write(self, usecase: str, table: pa.Table) -> StoredTable:
        """Store `table`, once: the same content again is the version that is there already.

        The commit is atomic: a process killed while writing leaves the old versions, and files that the next
        vacuum removes.

        Raises
        ------
        DatasetError
            If the lake cannot be written.
        """
        from deltalake import CommitProperties, write_deltalake
        from deltalake.exceptions import DeltaError

        digest = table_digest(table)
        # a table of its own: two writers of one table could each see their rows joined with the other's
        uri = f"{self.root}/datasets/{usecase}/{digest.removeprefix('sha256:')[:32]}"
        stored = StoredTable(uri, 0, digest, table.num_rows)
        if self.holds(uri, 0):
            return stored
        if "://" not in uri:
            Path(uri).mkdir(parents=True, exist_ok=True)
        failpoint("datasets.before-write")
        try:
            write_deltalake(
                uri, table, mode="error", commit_properties=CommitProperties(custom_metadata={_DIGEST: digest})
            )
        except (DeltaError, OSError) as error:
            if self.holds(uri, 0):
                return stored  # another process stored the same content first
            raise DatasetError(
                "the dataset cannot be stored", subject=uri, got=str(error)[:200], remedy="Check space and permissions."
            ) from error
        return stored

    def read(self, uri: str, table_version: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read one version.

        Raises
        ------
        DatasetError
            If it is not there.
        """
        table = self._open(uri, table_version)
        if table is None:
            raise DatasetError(
                "no such dataset version",
                subject=f"{uri}@{table_version}",
                remedy="The ledger knows it, the lake does not: restore the lake.",
            )
        return table.to_pyarrow_table(columns=list(columns) if columns else None)

    def holds(self, uri: str, table_version: int) -> bool:
        """Return whether a version is there."""
        return self._open(uri, table_version) is not None

    def verify(self, stored: StoredTable) -> None:
        """Check that a version still is what it was when published.

        Raises
        ------
        DatasetError
            If its content has another digest.
        """
        found = table_digest(self.read(stored.uri, stored.table_version))
        if found != stored.digest:
            raise DatasetError("a dataset version changed", subject=stored.uri, expected=stored.digest, got=found)

    def _open(self, uri: str, version: int) -> DeltaTable | None:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        try:
            return DeltaTable(uri, version=version)
        except TableNotFoundError:
            return None
        except DeltaError as error:
            raise DatasetError("the dataset cannot be read", subject=uri, got=str(error)[:200]) from error

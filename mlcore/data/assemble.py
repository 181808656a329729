"""The next training set: what was published, and the labelled rows that production has seen since."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from mlcore.contract import DataContract


def training_set(
    base: pa.Table,
    labelled: pa.Table,
    contract: DataContract,
    *,
    keys_repeat: bool = False,
    keep_since: datetime | None = None,
) -> pa.Table:
    """Return the union of both tables, in the order of time.

    Where both have a row of the same key the labelled one stands: it was seen later. Where `keys_repeat`, several rows
    of one key are several rows, and the same one is only what is equal in all that a model is sent. Rows before
    `keep_since` are left out.
    """
    import pyarrow as pa

    both = pa.concat_tables([base, labelled]).to_pandas()
    keys = [column.name for column in (contract.inputs if keys_repeat else contract.keys)]
    if keys:
        both = both[~both.duplicated(subset=keys, keep="last")]
    if contract.time is not None:
        both = both.sort_values(contract.time.name, kind="stable")
        if keep_since is not None:
            both = both[both[contract.time.name] >= keep_since]
    return pa.Table.from_pandas(both, schema=contract.arrow_schema(), preserve_index=False).replace_schema_metadata(
        None
    )

"""Whole rows that a baseline keeps, for what compares windows beyond single columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.drift.encoding import Encoding
from mlcore.drift.multivariate import MultivariateDrift, Rows, detector_named
from mlcore.drift.sample import microseconds

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract
    from mlcore.policy.monitoring import DriftPolicy

Array = np.ndarray[Any, Any]

_MOST_ROWS: Final = 20_000
_MOST_CELLS: Final = 1_000_000  # 4 MB
_PREFIX: Final = "row:"
_TIME: Final = "row:"  # no column has an empty name


@dataclass(frozen=True, slots=True)
class WholeRows:
    """Rows trained on, drawn with a fixed seed, in their order.

    Parameters
    ----------
    encoding : Encoding
    values : ndarray of shape (n_rows, n_names)
        float32.
    times : ndarray of shape (n_rows,) or None
        Microseconds since 1970 in UTC.
    """

    encoding: Encoding
    values: Array
    times: Array | None

    def to_columns(self) -> dict[str, Array]:
        """Return columns for the reference file."""
        columns = {f"{_PREFIX}{name}": self.values[:, place] for place, name in enumerate(self.encoding.names)}
        return columns if self.times is None else {**columns, _TIME: self.times.astype(float)}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Array], encoding: Encoding) -> WholeRows | None:
        """Return what `to_columns` wrote; None where the reference file is not there."""
        names = [f"{_PREFIX}{name}" for name in encoding.names]
        if not names or any(name not in columns for name in names):
            return None
        values = np.column_stack([np.asarray(columns[name], dtype=np.float32) for name in names])
        times = columns.get(_TIME)
        return cls(encoding, values, None if times is None else np.asarray(times).astype(np.int64))

    def compare(
        self,
        frame: pd.DataFrame,
        contract: DataContract,
        policy: DriftPolicy,
        scores: tuple[Array | None, Array | None],
    ) -> MultivariateDrift | None:
        """Compare the rows of a window with these; None where the policy asks for no such thing.

        Parameters
        ----------
        frame : DataFrame of shape (n_rows, n_columns)
        contract : DataContract
        policy : DriftPolicy
        scores : tuple of ndarray or None
            Of held-out rows and of the window.

        Raises
        ------
        DriftError
            If the detector needs a package that is not installed.
        """
        detector = detector_named(policy.multivariate)
        if detector is None:
            return None
        names = self.encoding.names
        times = _times(frame, contract)
        reference = Rows(names, self.values, _blocks(self.times, policy.block), self.times, scores[0])
        window = Rows(names, self.encoding.encode(frame), _blocks(times, policy.block), times, scores[1])
        return detector(reference, window, policy)


def keep_rows(frame: pd.DataFrame, contract: DataContract) -> WholeRows | None:
    """Return up to 20,000 rows and a million values; None where no feature is stored openly and watched."""
    encoding = Encoding.of(frame, contract)
    if not encoding.names or not len(frame):
        return None
    count = min(len(frame), _MOST_ROWS, _MOST_CELLS // len(encoding.names))
    chosen = np.sort(np.random.default_rng(0).choice(len(frame), count, replace=False))
    kept = frame.iloc[chosen]
    return WholeRows(encoding, encoding.encode(kept), _times(kept, contract))


def is_whole(name: str) -> bool:
    """Whether a column of the reference file is one of whole rows."""
    return name.startswith(_PREFIX)


def row_blocks(frame: pd.DataFrame, contract: DataContract, policy: DriftPolicy) -> Array | None:
    """Return the number of the block of ``policy.block`` that each row is in; None where rows are for themselves."""
    return _blocks(_times(frame, contract), policy.block)


def _times(frame: pd.DataFrame, contract: DataContract) -> Array | None:
    time = contract.time
    return None if time is None or time.name not in frame else microseconds(frame[time.name])


def _blocks(times: Array | None, block: timedelta | None) -> Array | None:
    return None if times is None or block is None else times // (block // timedelta(microseconds=1))

"""The baseline of a trained model, what it was fitted on and answered for other rows; and what is compared with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcore.drift.baseline import Baseline, build_baseline, distinct, independent_blocks
from mlcore.drift.detect import DriftReport, detect_drift
from mlcore.drift.whole import row_blocks

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import DataContract
    from mlcore.metrics import Output
    from mlcore.usecase import UseCase


def model_baseline(
    train: pd.DataFrame, holdout: pd.DataFrame, output: Output, usecase: UseCase, past: pd.DataFrame | None = None
) -> Baseline:
    """Summarise the rows of a training.

    Parameters
    ----------
    train : DataFrame
        Rows fitted on; their features are what live features are compared with.
    holdout : DataFrame
        Rows not fitted on. A model is surer of rows that it has seen: live answers are compared with those for these.
    output : Output
        What the model answers for `holdout`.
    usecase : UseCase
    past : DataFrame, optional
        All rows that there were. Those without a label, which nothing is fitted on, come live, too: where they lack
        features as well, more was missing than the rows fitted on show.
    """
    contract, policy = usecase.contract, usecase.monitoring.drift
    if past is not None:
        train = _arrived(past, train, holdout, contract)
    block_of_row = row_blocks(train, contract, policy)
    return build_baseline(
        train,
        output.values,
        contract,
        blocks=distinct(block_of_row),
        scores=output.confidence,
        answer_blocks=independent_blocks(holdout, contract, policy),
        block_of_row=block_of_row,
    )


def _arrived(past: pd.DataFrame, train: pd.DataFrame, holdout: pd.DataFrame, contract: DataContract) -> pd.DataFrame:
    """Return the rows fitted on and those without a label that came among them, before the ones held out, by time."""
    import pandas as pd

    others, time = past[past[contract.target.name].isna()], contract.time
    if time is not None and len(holdout):
        others = others[(others[time.name] >= train[time.name].min()) & (others[time.name] < holdout[time.name].min())]
    if others.empty:
        return train
    rows = pd.concat([train, others[train.columns]], ignore_index=True)
    return rows if time is None else rows.sort_values(time.name, kind="stable", ignore_index=True)


def model_drift(
    baseline: Baseline,
    frame: pd.DataFrame,
    output: Output,
    usecase: UseCase,
    *,
    minimum_rows: int,
    only_deciding: bool = False,
) -> DriftReport:
    """Compare a window, and what the model answered for it, with the model's baseline.

    Parameters
    ----------
    baseline : Baseline
        What `model_baseline` made.
    frame : DataFrame
        The window's inputs.
    output : Output
        The answers to them.
    usecase : UseCase
    minimum_rows : int
        With fewer nothing is said.
    only_deciding : bool, default=False
        As in `detect_drift`.

    Raises
    ------
    DriftError
        If the policy asks for a detector whose package is not installed.
    """
    contract, policy = usecase.contract, usecase.monitoring.drift
    return detect_drift(
        baseline,
        frame,
        output.values,
        contract,
        policy,
        minimum_rows=minimum_rows,
        blocks=independent_blocks(frame, contract, policy),
        scores=output.confidence,
        only_deciding=only_deciding,
    )

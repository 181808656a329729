"""The baseline of a trained model, what it was fitted on and answered for other rows; and what is compared with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcore.drift.baseline import Baseline, build_baseline, distinct, independent_blocks
from mlcore.drift.detect import DriftReport, detect_drift
from mlcore.drift.whole import row_blocks

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.metrics import Output
    from mlcore.usecase import UseCase


def model_baseline(train: pd.DataFrame, holdout: pd.DataFrame, output: Output, usecase: UseCase) -> Baseline:
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
    """
    contract, policy = usecase.contract, usecase.monitoring.drift
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

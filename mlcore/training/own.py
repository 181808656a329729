"""Features that a use case's own functions make, checked: one number a row, from that row alone."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from mlcore.errors import OwnCodeError
from mlcore.owncode import own_function
from mlcore.training.splits import evenly_spread

Array = np.ndarray[Any, Any]

#: So many rows are asked about one by one when a model is fitted.
_CHECKED_ROWS: Final = 20
#: A function may round otherwise on many rows than on one.
_TOLERANCE: Final = 1e-9


def own_feature(code: str, name: str, columns: dict[str, Array]) -> Array:
    """Return what the function `name` of the file with digest `code` makes of the columns.

    Raises
    ------
    OwnCodeError
        If the file is not there, or the function fails or does not return one number for each row.
    """
    function = own_function(code, name)
    given = {column: values.view() for column, values in columns.items()}
    for values in given.values():
        values.flags.writeable = False
    rows = len(next(iter(columns.values())))
    try:
        answer = np.asarray(function(given), dtype=np.float64)
    except Exception as error:  # own code can fail in any way
        raise OwnCodeError(
            "an own function fails", subject=name, got=f"{type(error).__name__}: {error}"[:300]
        ) from error
    if answer.shape != (rows,):
        raise OwnCodeError(
            "an own function does not return one number a row",
            subject=name,
            expected=f"shape ({rows},)",
            got=f"shape {answer.shape}",
        )
    return answer


def check_row_wise(code: str, name: str, columns: dict[str, Array], answer: Array) -> None:
    """Compare `answer` with what the function makes of single rows.

    Raises
    ------
    OwnCodeError
        If a row's value depends on the other rows: such a feature would be another one in service.
    """
    for row in evenly_spread(len(answer), _CHECKED_ROWS):
        alone = own_feature(code, name, {column: values[row : row + 1] for column, values in columns.items()})
        if not np.allclose(alone, answer[row], rtol=_TOLERANCE, atol=0, equal_nan=True):
            raise OwnCodeError(
                "an own function is not row-wise",
                subject=name,
                expected=f"{answer[row]:g} for row {row} alone, as among all rows",
                got=f"{alone[0]:g}",
                remedy="Compute each row's value from that row's columns alone, without means, ranks or chance.",
            )

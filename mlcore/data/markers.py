"""What files write where there is no value: question marks, dashes, -999."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_IN_TEXT: Final = frozenset({"?", "??", "n/a", "#n/a", "<na>", "n.a.", "k.a.", "null", "nan", "#null!", "\\n"})
#: Among numbers or times these are no values either; among words they may be words.
_AMONG_NUMBERS: Final = _IN_TEXT | {
    "-", "--", "---", "\u2013", "\u2014", ".", "..", "*", "na", "none", "nil", "missing", "unknown",
    "not available", "nd", "n.d.", "#div/0!", "#value!", "#ref!", "#wert!", "no data", "nodata", "i/o timeout",
}  # fmt: skip
#: Numbers that stand for no value where they lie apart: -200, and nines.
_SENTINELS: Final = frozenset(
    {-200.0, -9999.9, -999.9, -99.9, 999.9, 9999.9, -32768.0, -999.99, -9999.99}
    | {sign * (10.0**digits - 1) for digits in range(2, 7) for sign in (-1, 1)}
)
#: More of a column than this is no gap in it: the number means something, as 999 for 'never called'.
_MOST: Final = 0.5
_LEAST: Final = 3


def markers(present: pd.Series, *, numbers: bool) -> tuple[str, ...]:
    """Return which of the texts in a column stand for no value.

    Parameters
    ----------
    present : Series of str
        Without missing values.
    numbers : bool
        Whether the others are numbers or times: words such as 'missing' are no values among those.

    Examples
    --------
    >>> import pandas as pd
    >>> cells = pd.Series(["1.5", "?", "missing"])
    >>> markers(cells, numbers=True), markers(cells, numbers=False)
    (('?', 'missing'), ('?',))
    """
    known = _AMONG_NUMBERS if numbers else _IN_TEXT
    return tuple(sorted(text for text in map(str, present.unique()) if text.strip().casefold() in known))


def sentinel(values: pd.Series) -> float | None:
    """Return the number that stands for no value in a numeric column, None where none obviously does.

    It is one that people use for it (-200, nines), comes several times, and lies apart: further from the other values
    than these span, or as the only negative number; it is no more than half of them.

    Examples
    --------
    >>> import pandas as pd
    >>> sentinel(pd.Series([-200.0] * 3 + [800.0, 1200.0, 1900.0]))
    -200.0
    >>> sentinel(pd.Series([-99.0] * 3 + [-98.0, 20.0, 50.0])) is None
    True
    """
    numbers = values.dropna().to_numpy(dtype=float)
    numbers = numbers[np.isfinite(numbers)]
    for edge, sign in ((numbers.min(initial=0.0), -1), (numbers.max(initial=0.0), 1)):
        if edge not in _SENTINELS:
            continue
        at_edge = numbers == edge
        rest = numbers[~at_edge]
        if not _LEAST <= at_edge.sum() <= _MOST * len(numbers) or not len(rest):
            continue
        apart = float(np.abs(rest - edge).min()) > np.ptp(rest)
        if apart or (sign < 0 and rest.min() >= 0):
            return float(edge)
    return None

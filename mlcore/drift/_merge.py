"""The compiled merge of two sorted samples; numba keeps its machine code on disk, beside this file."""

from __future__ import annotations

from typing import Any

from numba import float64, int64, njit, types

_SORTED = types.Array(float64, 1, "C", readonly=True)  # a memory map is; any other array converts to it


@njit(types.Tuple((int64, float64, float64))(_SORTED, _SORTED), cache=True, nogil=True)
def merge(reference: Any, window: Any) -> Any:  # pragma: no cover - compiled
    """Walk the pooled sample once, without a branch on the data: one would be mispredicted at every other value.

    ``gap`` is n·m times the difference of the two distribution functions at the value last passed, an integer. It
    counts only where the next value is another one: so a tie is passed as a whole.

    Parameters
    ----------
    reference, window : ndarray of shape (n,) and (m,)
        Sorted, finite, not empty.

    Returns
    -------
    furthest : int
        Largest absolute gap.
    area : float
        Integral of the absolute gap.
    squares : float
        Sum of the squared gap over the pooled sample.
    """
    n, m = len(reference), len(window)
    i, j, gap, furthest = int64(0), int64(0), int64(0), int64(0)
    area, squares, passed = 0.0, 0.0, 0.0
    first, second = reference[0], window[0]
    here = first if first < second else second
    while i < n - 1 and j < m - 1:
        from_reference = int64(first <= second)
        i += from_reference
        j += 1 - from_reference
        gap += from_reference * (n + m) - n
        first, second = reference[i], window[j]
        following = first if first < second else second
        last_of_tie = following != here
        distance = abs(gap)
        counted = distance if last_of_tie else 0
        furthest = counted if counted > furthest else furthest
        size = float64(distance)
        area += size * (following - here)
        passed += 1.0
        squares += passed * size * size if last_of_tie else 0.0
        passed = 0.0 if last_of_tie else passed
        here = following
    while i < n or j < m:
        if j == m or (i < n and reference[i] <= window[j]):
            here = reference[i]
            i += 1
            gap += m
        else:
            here = window[j]
            j += 1
            gap -= n
        passed += 1.0
        following = here
        if i < n:
            following = reference[i]
        if j < m and (i == n or window[j] < following):
            following = window[j]
        if following != here:
            distance = abs(gap)
            furthest = distance if distance > furthest else furthest
            size = float64(distance)
            area += size * (following - here)
            squares += passed * size * size
            passed = 0.0
    return furthest, area, squares

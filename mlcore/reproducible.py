"""Sums in one order, so that a model does not depend on how many cores fitted it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any


def one_thread() -> AbstractContextManager[Any]:
    """Return a context in which BLAS and OpenMP add up in one thread.

    Boosting and linear algebra split their sums by the number of threads, and floating-point sums depend on
    where they are split: with two threads the same data and seed give another last digit and another digest.
    Forests are not slowed: their trees are grown side by side whatever this says.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    return threadpool_limits(limits=1)


def sum_in_order() -> None:
    """Let OpenMP add up in one thread for as long as the calling thread lives; for each thread of a pool.

    OpenMP keeps the number of threads for each thread apart: what `one_thread` sets in one holds in no other.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1, user_api="openmp")

"""Scoring rows: those asked about at the same moment go to the model together, many of them beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mlcore.errors import OwnCodeError
from mlcore.metrics import Output

Rows = Sequence[Mapping[str, Any]]
#: From so many rows on they are scored in a thread, so that others, and probes, are answered meanwhile.
MANY_ROWS: Final = 256


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows that are gathered until the loop comes to the task, and the task that answers them."""

    rows: list[Mapping[str, Any]]
    task: asyncio.Task[Output]


class Scorer:
    """Answers about rows.

    Nearly all that one row costs, a hundred do, too: a frame, a call of the model. So what comes in while the event
    loop handles what came in before is scored at once; nobody waits for more to come. Each row gets the answer that it
    gets alone, but for the last bit of a sum: a model for which that is not so is asked about each request by itself.

    Parameters
    ----------
    score : callable
        ``score(rows, history)`` returns the model's answers, shape (n_rows,).
    together : bool
        Whether an answer depends on its own row only.
    """

    def __init__(self, score: Callable[[Rows, Rows], Output], *, together: bool) -> None:
        self._score = score
        self._together = together
        self._batch: _Batch | None = None

    async def output(self, rows: Rows, history: Rows = ()) -> Output:
        """Return the answers to `rows`.

        Raises
        ------
        ValueError, OwnCodeError
            If the model cannot score them.
        """
        if len(rows) + len(history) >= MANY_ROWS:
            return await asyncio.to_thread(self._score, rows, history)
        if not self._together:
            return self._score(rows, history)
        batch = self._batch
        if batch is None or len(batch.rows) + len(rows) > MANY_ROWS:
            gathered: list[Mapping[str, Any]] = []
            batch = self._batch = _Batch(gathered, asyncio.create_task(self._answer(gathered)))
        first = len(batch.rows)
        batch.rows.extend(rows)
        try:
            # who goes away must not take the answer with him
            output = await asyncio.shield(batch.task)
        except (ValueError, OwnCodeError):
            if len(batch.rows) == len(rows):
                raise
            return self._score(rows, ())  # it may be another's rows that cannot be scored
        return output.take(slice(first, first + len(rows)))

    async def _answer(self, gathered: Rows) -> Output:
        if self._batch is not None and self._batch.rows is gathered:
            self._batch = None
        return self._score(gathered, ())

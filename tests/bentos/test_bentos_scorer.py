"""Rows that are asked about at the same moment are scored together, and nobody notices."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest

from bentos.scorer import MANY_ROWS, Scorer
from mlcore.metrics import Output


class Model:
    """Answers twice the value; notes how many rows it was asked about, and where."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.threads: set[str] = set()

    def __call__(self, rows, history):
        """Answer."""
        self.asked.append(len(rows))
        self.threads.add(threading.current_thread().name)
        if any(row["x"] is None for row in rows):
            raise ValueError("no finite answer")
        return Output(np.array([2.0 * row["x"] + len(history) for row in rows]))


def ask(model, requests, *, together=True, history=()):
    """Ask about all requests at once; return the answers, or the errors."""

    async def all_of_them():
        scorer = Scorer(model, together=together)
        asked = (scorer.output([{"x": x} for x in rows], history) for rows in requests)
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(all_of_them())
    return [str(one) if isinstance(one, ValueError) else one.values.tolist() for one in found]


def test_what_comes_together_is_scored_together():
    """One call of the model, each his own answers."""
    model = Model()
    assert ask(model, [[1], [2, 3], [4]]) == [[2], [4, 6], [8]]
    assert model.asked == [4]


def test_where_rows_look_at_others_each_request_is_scored_alone():
    """With its own history."""
    model = Model()
    assert ask(model, [[1], [2]], together=False, history=({"x": 0},)) == [[3], [5]]
    assert model.asked == [1, 1]


def test_rows_that_cannot_be_scored_are_refused_alone():
    """The others are answered."""
    assert ask(Model(), [[1], [None], [2]]) == [[2], "no finite answer", [4]]
    model = Model()
    assert ask(model, [[None]]) == ["no finite answer"]
    assert model.asked == [1]


def test_many_rows_do_not_hold_up_others():
    """A large request is scored in a thread; small ones that come together make no large one."""
    model = Model()
    assert ask(model, [[1] * MANY_ROWS])[0] == [2] * MANY_ROWS
    assert model.threads.isdisjoint({threading.current_thread().name})
    model = Model()
    assert ask(model, [[number] for number in range(MANY_ROWS + 1)]) == [[2 * n] for n in range(MANY_ROWS + 1)]
    assert sorted(model.asked) == [1, MANY_ROWS]
    assert model.threads == {threading.current_thread().name}


def test_who_goes_away_takes_no_answer_with_him():
    """A request that is cancelled leaves the others of its batch alone."""

    async def leave():
        scorer = Scorer(Model(), together=True)
        first, second = (asyncio.create_task(scorer.output([{"x": x}])) for x in (1, 2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        return (await second).values.tolist()

    assert asyncio.run(leave()) == [4]

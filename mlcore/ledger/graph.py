"""A trace as a graph: its steps, what led to what, and how it reads as a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


class FoundPrediction(Protocol):
    """What is known of a captured row: `mlcore.capture.store.Prediction` is one."""

    @property
    def model_version(self) -> int:
        """The version that answered."""

    @property
    def received_at(self) -> datetime:
        """When it was asked."""

    @property
    def prediction(self) -> Any:
        """What was answered."""

    @property
    def label(self) -> Any:
        """The true value, None where none has come."""


class CountedPredictions(Protocol):
    """How many rows a model has answered: `mlcore.capture.store.Answered` is one."""

    @property
    def rows(self) -> int:
        """Rows, each once."""

    @property
    def labelled(self) -> int:
        """Those with a true value."""

    @property
    def last_at(self) -> datetime:
        """When the last was asked."""


#: ``(row id) -> (use case, what is known)``, None where no such row was captured.
FindPrediction = Callable[[str], tuple[str, FoundPrediction] | None]
#: ``(use case, model version) -> how many``, None where it has answered nothing that was captured.
CountPredictions = Callable[[str, int], CountedPredictions | None]


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One link: what it is, its id, when, in a sentence, and the facts."""

    kind: str
    id: str
    at: datetime
    sentence: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TraceLink:
    """What led to what, by the places of two steps."""

    source: int
    target: int


@dataclass(frozen=True, slots=True)
class Trace:
    """The whole chain as a graph, from the data to the answers."""

    identifier: str
    steps: tuple[TraceStep, ...]
    links: tuple[TraceLink, ...]


def children(found: Trace) -> tuple[list[int], Mapping[int, list[int]]]:
    """Return the places where the graph begins, and what follows each, in the order of time."""
    following: dict[int, list[int]] = {}
    for link in found.links:
        following.setdefault(link.source, []).append(link.target)
    targets = {link.target for link in found.links}
    order = sorted(range(len(found.steps)), key=lambda place: (found.steps[place].at, place))
    rank = {place: number for number, place in enumerate(order)}
    return [place for place in order if place not in targets], {
        source: sorted(set(places), key=rank.__getitem__) for source, places in following.items()
    }


def lines(found: Trace) -> Iterator[tuple[int, int, bool]]:
    """Yield the graph as a tree: depth, place, and whether it was shown before; each step's followers once."""
    roots, following = children(found)
    shown: set[int] = set()
    stack = [(0, root) for root in reversed(roots)]
    while stack:
        depth, place = stack.pop()
        again = place in shown
        yield depth, place, again
        if not again:
            shown.add(place)
            stack += [(depth + 1, target) for target in reversed(following.get(place, []))]

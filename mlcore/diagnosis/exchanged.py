"""Two columns in each other's place: believed when exchanging them back mends both."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.diagnosis.findings import FeatureDiagnosis, Numbers, fault, kolmogorov_smirnov, near
from mlcore.diagnosis.lattice import OFF_SCALE, ON_SCALE, off_scale
from mlcore.diagnosis.relations import CONTRADICTS, Relations, reconciled

if TYPE_CHECKING:
    from mlcore.contract import Column
    from mlcore.drift import Baseline

#: The exchange must bring the values this much nearer to the baseline (Kolmogorov-Smirnov distance).
_GAIN: Final = 0.3
#: Where rows are many, to this share of the distance is enough.
_LEAST_FOR_RECENT, _EXCHANGED = 200, 0.25
#: Nearer to half where the other columns say the same of its partner.
_HALVED: Final = 0.5
_LEAST_DISTANCE: Final = 0.15
#: The hours of one day are no distribution: an odd day can look like another column's.
_LEAST_FOR_SHAPE: Final = 48
#: Unless hardly a value of either column is where the column's own were.
_APART: Final = 0.9


def swapped(
    columns: list[Column],
    baseline: Baseline,
    rows: Mapping[str, Any],
    recent: Mapping[str, Any],
    relations: Relations,
) -> Iterator[FeatureDiagnosis]:
    """Yield pairs of columns whose values fit the other one much better, both of them."""
    taken: set[str] = set()
    numeric = [column.name for column in columns if column.name in baseline.numeric]
    known = [column.name for column in columns if column.name in baseline.categories and column.type == "category"]
    pairs: list[tuple[tuple[str, str], Callable[..., bool]]]
    pairs = [(pair, _numbers_swapped) for pair in itertools.combinations(numeric, 2)]
    pairs += [(pair, _categories_swapped) for pair in itertools.combinations(known, 2)]
    for (one, other), exchanged in pairs:
        if not taken & {one, other} and exchanged(one, other, baseline, rows, recent, relations):
            taken |= {one, other}
            yield fault(one, f"{one} and {other} are swapped")
            yield fault(other, f"{other} and {one} are swapped")


def _numbers_swapped(
    one: str,
    other: str,
    baseline: Baseline,
    rows: Mapping[str, Any],
    recent: Mapping[str, Any],
    relations: Relations,
) -> bool:
    before = [baseline.numeric[name].values for name in (one, other)]
    now = [np.sort(rows[name][np.isfinite(rows[name])]) for name in (one, other)]
    if min(map(len, (*before, *now))) < 12 or not (near(before[0], now[1]) and near(before[1], now[0])):
        return False
    as_it_is, exchanged = list(zip(before, now, strict=True)), list(zip(before, now[::-1], strict=True))
    distances, crossed = ([kolmogorov_smirnov(*pair) for pair in pairs] for pairs in (as_it_is, exchanged))
    apart = all(far >= _APART and back <= far - _GAIN for far, back in zip(distances, crossed, strict=True))
    if apart or (min(map(len, now)) >= _LEAST_FOR_SHAPE and _crossed(distances, crossed, min(map(len, now)))):
        return True
    if min(map(len, now)) >= _LEAST_FOR_SHAPE and _crossed_since(recent, one, other, now):
        return True
    off, on = ([off_scale(np.unique(old), new) for old, new in pairs] for pairs in (as_it_is, exchanged))
    if all(share is not None and share <= ON_SCALE for share in on) and any(
        share is not None and share >= OFF_SCALE for share in off
    ):
        return True
    back = {**rows, one: rows[other], other: rows[one]}
    strange = [
        (relations.strangeness(name, rows), relations.strangeness(name, back), relations.usual(name, recent))
        for name in (one, other)
    ]
    mended = [reconciled(*item) for item in strange]
    # of a column to which none relates its distribution speaks; of one that is far out this season the window before
    nearer = [far >= _LEAST_DISTANCE and near <= _HALVED * far for far, near in zip(distances, crossed, strict=True)]
    usual = [min(map(len, now)) >= _LEAST_FOR_SHAPE and _is_usual(*item) for item in strange]
    return any(mended) and all(map(any, zip(mended, nearer, usual, strict=True)))


def _is_usual(now: float | None, undone: float | None, usual: float) -> bool:
    """Whether a column contradicts the others more than in the last healthy window, and once exchanged no more."""
    return now is not None and undone is not None and undone <= usual < now and now >= CONTRADICTS


def _crossed_since(recent: Mapping[str, Any], one: str, other: str, now: list[Numbers]) -> bool:
    """Whether both are where the other was in the last healthy window: a season may lead far from training."""
    if one not in recent or other not in recent:
        return False
    last = [np.sort(recent[name][np.isfinite(recent[name])]) for name in (one, other)]
    if min(map(len, last)) < _LEAST_FOR_SHAPE:
        return False
    return _crossed(
        [kolmogorov_smirnov(*pair) for pair in zip(last, now, strict=True)],
        [kolmogorov_smirnov(*pair) for pair in zip(last, now[::-1], strict=True)],
        min(map(len, (*last, *now))),
    )


def _categories_swapped(one: str, other: str, baseline: Baseline, rows: Mapping[str, Any], *_: Any) -> bool:
    before = [baseline.categories[name].counts for name in (one, other)]
    now = [_shares(rows[name]) for name in (one, other)]
    return _crossed(
        [_variation(counts, shares) for counts, shares in zip(before, now, strict=True)],
        [_variation(counts, shares) for counts, shares in zip(before, now[::-1], strict=True)],
        len(rows[one]),
    )


def _crossed(distances: list[float], crossed: list[float], rows: int) -> bool:
    """Whether both columns come much nearer by exchange: from afar, or to a quarter where rows are many."""
    if all(now >= 0.5 and back <= now - _GAIN for now, back in zip(distances, crossed, strict=True)):
        return True
    return rows >= _LEAST_FOR_RECENT and all(
        now >= _LEAST_DISTANCE and back <= _EXCHANGED * now for now, back in zip(distances, crossed, strict=True)
    )


def _shares(values: Numbers) -> Mapping[str, float]:
    found, counts = np.unique(values[values != ""], return_counts=True)
    return dict(zip(map(str, found), counts / max(1, counts.sum()), strict=True))


def _variation(counts: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Return the total variation distance."""
    total = max(1, sum(counts.values()))
    labels = {*counts, *shares}
    return sum(abs(counts.get(label, 0) / total - shares.get(label, 0.0)) for label in labels) / 2

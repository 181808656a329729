"""Held-out rows that the challenger was fitted on, to the last digit or nearly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.validation.nearest import nearness
from mlcore.validation.repeats import rarity_of_counts, rarity_of_sides, rarity_of_stretch
from mlcore.validation.report import GuardResult, Outcome

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.contract import Column, DataContract
    from mlcore.usecase import UseCase

Array = np.ndarray[Any, Any]

#: The guard's name, and what lets repeats pass.
REPEATED: Final = "rows on both sides"
WAY_OUT: Final = "let validation.leaks.maximum_copies_fraction say how often"
#: Agreement of the targets of equal rows beyond chance (Cohen, 1960) from which on they are copies.
_KAPPA: Final = 0.9
#: Copies that refuse a challenger; fewer are asked about, and one is none.
_FEWEST: Final = 5
#: How rarely a split of a sound table puts so many equal rows on both of its sides: then they were copied, or an owner
#: is asked.
_RARE_TABLES: Final = 1e-4
_QUESTION: Final = 0.01
#: Rows of few distinct values repeat by themselves: half of their columns are then equal this many times as often.
_BY_THEMSELVES: Final = 1.5
_MOST_COLUMNS: Final = 4
#: Rows are of a stock of patterns where at most so many came once, and the others' counts vary; counts of Poisson's
#: distribution vary by their mean.
_NEW_PATTERNS: Final = 0.1
_VARIES: Final = 0.25
#: Rows that repeat by themselves have neighbours: where two columns have at least so many numbers, cells that are two
#: of them wide hold four times as many rows as are equal, or twice as many if the columns go together. Those that have
#: fewer are copies, unless they come so often that they are patterns.
_SOME_VALUES: Final = 10
_NEIGHBOURS: Final = 2.0
_MOST_COPIES: Final = 2.0
#: Held-out rows that are looked for, and training rows that tell how columns are spread.
_MOST_ROWS: Final = 20_000


@dataclass(frozen=True, slots=True)
class _Rows:
    """64 bits for each row: of each feature, of all of them, these with the target, of the target, and of the keys."""

    each: Array
    features: Array
    whole: Array
    target: Array
    keys: Array

    def take(self, rows: Array) -> _Rows:
        keys = self.keys[rows] if len(self.keys) else self.keys
        return _Rows(self.each[rows], self.features[rows], self.whole[rows], self.target[rows], keys)


def copied_rows(usecase: UseCase, train: pd.DataFrame, holdout: pd.DataFrame) -> GuardResult:
    """Count held-out rows that the challenger was fitted on: equal, or nearly, in every feature and in the target.

    Rows that come on both sides of the split more often than it has put rows that repeat on either were copied from one
    side to the other, and where many come twice and hardly any three times they were copied before. Others were unless
    they repeat by themselves: rows of few distinct values do. Then their targets differ as often as chance has it, or,
    where the features tell the target, half of the columns alone are equal much more often than all of them, and rows
    that are nearly equal come, too. A row that comes more than once among the held-out ones counts once. Where a key
    comes back over time, what has it is measured again.

    Where cleaning drops rows that repeat another in every column of the contract, there are none that repeat by
    themselves: such rows came in some other way, and are asked about.
    """
    from mlcore.training.splits import evenly_spread

    contract, limit = usecase.contract, usecase.validation.leaks.maximum_copies_fraction
    held = holdout.iloc[evenly_spread(len(holdout), _MOST_ROWS)]
    share, count, outcome = _copies(contract, train, held, limit, len(holdout))
    rows, how = len(held), "are also among the training rows"
    remedy = "drop duplicates (cleaning.exact_duplicates) or their source"
    if outcome == "passed" and (unclean := _not_cleaned(usecase, train, held)) > limit * rows:
        sentence = (
            f"{unclean:,} of {rows:,} held-out rows ({unclean / rows:.1%}) {how}, in every column, though cleaning "
            "drops rows that repeat another: are they copies? If so, look for where they were added, and train again; "
            "if rows do repeat by themselves, let cleaning.exact_duplicates be keep"
        )
        return GuardResult("leak", REPEATED, "not_judged", sentence, unclean / rows, limit)
    if outcome != "failed":
        close = nearness(contract, train, held)
        if close.copied and close.share > limit:
            share, count, outcome, rows = close.share, close.near, "failed", close.rows
            how = (
                "are nearly also among the training rows, much nearer to one than rows of this table are to each other"
            )
            remedy = "look for what makes rows of rows (copies with noise, samples drawn near others) and drop these"
    told = f"{count:,} of {rows:,} held-out rows ({count / rows:.1%}) {how}"
    if outcome == "passed":
        if share > limit:
            told += ": so few different rows there are that they repeat by themselves"
        return GuardResult("leak", REPEATED, outcome, told, share, limit)
    told += ", target and all"
    if outcome == "not_judged":
        told += ", though rows hardly repeat by themselves"
        remedy = f"are they copies? If so, {remedy}"
    sentence = (
        f"{told}: {remedy}, then train again; if it is the same thing, measured again, say what tells it apart "
        f"(role: key, with cleaning.key_duplicates: keep); if rows do repeat by themselves, {WAY_OUT}"
    )
    return GuardResult("leak", REPEATED, outcome, sentence, share, limit)


def training_rows_like(contract: DataContract, train: pd.DataFrame, holdout: pd.DataFrame) -> Array:
    """Return how many training rows have the features of each held-out row, whatever their targets.

    Rows with the target of such a training row would be the ones that are easily told: to leave only these out would
    leave the others' exceptions. Where a key comes back over time, its own rows do not count.
    """
    seen, held = (_hashed(contract, rows) for rows in (train, holdout))
    matches = _count(seen.features, held.features)
    if contract.time is not None and len(held.keys):
        matches = matches - _count(*(_mixed(np.column_stack([side.features, side.keys])) for side in (seen, held)))
    return matches


def _copies(
    contract: DataContract, train: pd.DataFrame, frame: pd.DataFrame, limit: float, rows: int
) -> tuple[float, int, Outcome]:
    """Return the share of different held-out rows that are among the training rows, how many rows these are, and
    whether they were copied; `frame` was taken of so many `rows`, evenly."""
    seen, held = (_hashed(contract, rows) for rows in (train, frame))
    agreeing = _count(seen.whole, held.whole)
    others = held.whole
    if contract.time is not None and len(held.keys):
        same = _count(*(_mixed(np.column_stack([side.whole, side.keys])) for side in (seen, held)))
        agreeing, others = agreeing - same, others[same == 0]
    once = np.unique(held.whole, return_index=True)[1]
    share, count = float((agreeing[once] > 0).mean()), int((agreeing > 0).sum())
    if share <= limit:
        return share, count, "passed"
    rarity = rarity_of_sides(seen.whole, others)
    if contract.time is not None and rarity < _QUESTION:
        rarity = max(rarity, rarity_of_stretch(seen.whole, others, rows))
    rarity = min(rarity, rarity_of_counts(_of_each_key(seen, held)))
    doubled = not _patterns(seen.features, held.features) and _doubled(
        contract, (train, frame.iloc[once]), (seen, held.take(once)), agreeing[once]
    )
    if rarity < _RARE_TABLES or (doubled and count >= _FEWEST):
        return share, count, "failed"
    return share, count, "not_judged" if rarity < _QUESTION or doubled else "passed"


def _not_cleaned(usecase: UseCase, train: pd.DataFrame, held: pd.DataFrame) -> int:
    """Return how many held-out rows are among the training rows that cleaning would have dropped.

    Cells that a rule for outliers changes are changed after repeated rows were dropped: these may become equal.
    """
    if usecase.cleaning.exact_duplicates == "keep" or usecase.cleaning.outliers:
        return 0
    columns = [column.name for column in usecase.contract.columns]
    seen, rows = (_mixed(np.column_stack([_bits(side[name]) for name in columns])) for side in (train, held))
    return int((_count(seen, rows) > 0).sum())


def _of_each_key(seen: _Rows, held: _Rows) -> Array:
    """Return the rows of both sides, those that a key repeats once."""
    whole = np.concatenate([seen.whole, held.whole])
    if not len(held.keys):
        return whole
    keys = np.concatenate([seen.keys, held.keys])
    return whole[np.unique(_mixed(np.column_stack([whole, keys])), return_index=True)[1]]


def _doubled(
    contract: DataContract, frames: tuple[pd.DataFrame, pd.DataFrame], sides: tuple[_Rows, _Rows], agreeing: Array
) -> bool:
    """Whether rows come again that do not repeat by themselves, wherever the split has put them.

    `frames` and `sides` are the training rows and the different held-out ones, of which `agreeing` training rows each
    are equal, target and all.
    """
    if (agreeing > 0).sum() < 2:
        return False
    seen, held = sides
    matches = _count(seen.features, held.features)
    if not _agree(seen.target, agreeing, matches):
        return False
    return not _half_repeat(seen, held, matches) or _has_no_neighbours(contract, *frames, matches)


def _patterns(seen: Array, held: Array) -> bool:
    """Whether nearly every row is one of a stock of patterns, products say, that come again as chance has it.

    The share of rows that came once estimates how often a pattern that was never seen comes next (Good, 1953). A table
    that was copied as a whole has no such rows either, but then every row comes equally often.
    """
    counts = np.unique(np.concatenate([seen, held]), return_counts=True)[1]
    return float((counts == 1).sum() / counts.sum()) <= _NEW_PATTERNS and counts.var() >= _VARIES * counts.mean()


def _has_no_neighbours(contract: DataContract, train: pd.DataFrame, held: pd.DataFrame, matches: Array) -> bool:
    """Whether hardly more training rows are next to the held-out ones than are equal to them, and these are few."""
    cells = {
        column.name: 2 * float(np.median(np.diff(values)))
        for column in contract.features
        if column.is_numeric and len(values := _distinct(train[column.name])) >= _SOME_VALUES
    }
    if len(cells) < 2 or matches[matches > 0].mean() > _MOST_COPIES:
        return False
    around = [
        _count(*(_hashed(contract, rows, cells, offset).features for rows in (train, held))).mean()
        for offset in (0.0, 0.5)
    ]
    return max(around) < _NEIGHBOURS * float(matches.mean())


def _distinct(column: pd.Series) -> Array:
    values = column.to_numpy(dtype=float, na_value=np.nan)
    return np.unique(values[np.isfinite(values)])


def _agree(targets: Array, agreeing: Array, matches: Array) -> bool:
    """Whether rows with the same features have the same target more often than chance and noise have it."""
    repeats = matches > 0
    chance = float(np.square(np.unique(targets, return_counts=True)[1] / len(targets)).sum())
    agreement = float((agreeing[repeats] / matches[repeats]).mean())
    return chance < 1 and (agreement - chance) / (1 - chance) >= _KAPPA


def _half_repeat(seen: _Rows, held: _Rows, matches: Array) -> bool:
    """Whether half of the columns, those that tell rows apart best, are equal much more often than all of them.

    A column that tells nothing apart which another does not, its logarithm or its square, does not count.
    """
    some = seen.each[:: max(1, len(seen.each) // _MOST_ROWS)]
    distinct = np.array([len(np.unique(column)) for column in some.T])
    told: list[int] = []
    for number in np.argsort(distinct)[::-1]:
        if distinct[number] < 2 or len(told) == 2 * _MOST_COLUMNS:
            break
        if not any(len(np.unique(_mixed(some[:, [other, number]]))) == distinct[other] for other in told):
            told.append(int(number))
    half = told[: min(_MOST_COLUMNS, len(told) // 2)]
    if not half:
        return int(distinct.max()) <= len(some) / 2
    parts = [_mixed(rows.each[:, half]) for rows in (seen, held)]
    return float(_count(*parts).mean()) >= _BY_THEMSELVES * float(matches.mean())


def _hashed(
    contract: DataContract, frame: pd.DataFrame, cells: Mapping[str, float] = MappingProxyType({}), offset: float = 0.0
) -> _Rows:
    """Return the rows' bits, columns of `cells` cut into cells of that width."""
    import pandas as pd

    def bits(column: Column) -> Array:
        values = frame[column.name]
        if column.name in cells:
            values = pd.Series(np.floor(values.to_numpy(dtype=float, na_value=np.nan) / cells[column.name] + offset))
        return _bits(values)

    each = np.column_stack([bits(column) for column in contract.features])
    target = bits(contract.target)
    names = [column.name for column in contract.columns if column.role == "key"]
    keys = _mixed(np.column_stack([_bits(frame[name]) for name in names])) if names else np.empty(0, dtype=np.uint64)
    features = _mixed(each)
    return _Rows(each, features, _mixed(np.column_stack([features, target])), target, keys)


def _bits(values: pd.Series) -> Array:
    import pandas as pd

    return np.asarray(pd.util.hash_pandas_object(values, index=False))


def _mixed(bits: Array) -> Array:
    """Return 64 bits for each row of bits: an order-dependent sum, mixed (Steele, Lea & Flood, 2014)."""
    mixed = np.zeros(len(bits), dtype=np.uint64)
    for column in bits.T:
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9) + column
        mixed ^= mixed >> np.uint64(27)
    return mixed


def _count(seen: Array, held: Array) -> Array:
    """Return how often each of `held` is among `seen`."""
    import pandas as pd

    values, code = np.unique(held, return_inverse=True)
    place = pd.Index(values).get_indexer(seen)  # -1 where it is not among them
    return np.asarray(np.bincount(place + 1, minlength=len(values) + 1)[1:][code])

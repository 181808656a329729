"""Rows on both sides of the split: copies, what repeats by itself, and a verdict that holds whatever they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from sklearn.dummy import DummyClassifier

from mlcore.metrics import Output
from mlcore.training.splits import split_holdout
from mlcore.usecase import UseCase, parse_usecase
from mlcore.validation import EvaluationReport, evaluate
from mlcore.validation.copies import copied_rows, training_rows_like
from mlcore.validation.repeats import rarity_of_counts, rarity_of_sides, rarity_of_stretch
from mlcore.validation.report import GuardResult
from mlcore.validation.telling import columns_that_know
from tests.validation.test_validation_disguises import case


def answers(rows: int = 3_000, seed: int = 0) -> pd.DataFrame:
    """Return a questionnaire of few coarse questions: a fifth of its rows are there twice, by themselves."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.binomial(6, 0.3, size=(rows, 7)).astype(float)).add_prefix("q")
    frame["y"] = np.where(frame.sum(axis=1) + rng.normal(0, 2, rows) > 13, "yes", "no")
    return frame


def with_copies(train: pd.DataFrame, holdout: pd.DataFrame, share: float) -> pd.DataFrame:
    """Return the held-out rows, some of them replaced by training rows."""
    count = round(share * len(holdout))
    return pd.concat([holdout.iloc[count:], train.sample(count, random_state=0)], ignore_index=True)


def judged(frame: pd.DataFrame, share: float = 0.0, usecase: UseCase | None = None) -> GuardResult:
    """Return what is said of rows on both sides, some of the held-out ones copied."""
    usecase = usecase or case(frame)
    train, holdout = split_holdout(frame, usecase)
    return copied_rows(usecase, train, with_copies(train, holdout, share))


def test_copies_among_rows_that_repeat_by_themselves_are_found():
    """A fifth of the rows repeat in a sound table, on either side; copies are always on both."""
    for seed in range(5):
        sound = judged(answers(seed=seed))
        assert sound.outcome == "passed"
        assert sound.value > 0.05
        assert "repeat by themselves" in sound.sentence
        assert judged(answers(seed=seed), 0.1).outcome != "passed"
        assert judged(answers(seed=seed), 0.25).outcome == "failed"


def test_few_copies_are_asked_about():
    """Three of sixty rows, in a table without any other repeat: too few to refuse for, too many to be silent."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 4)).round(2)).add_prefix("x")
    frame["y"] = frame.sum(axis=1).round(2)
    assert [judged(frame, share).outcome for share in (0.0, 0.05, 0.2)] == ["passed", "not_judged", "failed"]
    sentence = judged(frame, 0.05).sentence
    assert "are they copies?" in sentence
    assert "maximum_copies_fraction" in sentence


def test_a_code_beside_its_name_is_no_further_column():
    """Two of eight columns, each there three times over, repeat often, and all eight hardly ever."""
    rng = np.random.default_rng(6)
    frame = pd.DataFrame(rng.integers(1, [26, 26, *[20] * 6], size=(300, 8))).astype(str).add_prefix("x")
    for name in ("x0", "x1"):
        frame = frame.assign(**{f"{name}_{form}": form + frame[name] for form in ("code", "short")})
    frame["y"] = rng.normal(size=300)
    assert [judged(frame, share).outcome for share in (0.0, 0.05, 0.2)] == ["passed", "not_judged", "failed"]


def test_a_sound_split_is_rare_as_seldom_as_it_says():
    """Patterns of any frequency: at most one in a hundred splits at random is as rare as one in a hundred."""
    rng = np.random.default_rng(1)
    for rows, patterns in ((200, 3_000), (500, 100), (2_000, 5_000)):
        drawn = [rng.geometric(1 / patterns, rows) for _ in range(400)]
        found = [rarity_of_sides(values[rows // 5 :], values[: rows // 5]) for values in drawn]
        assert np.mean(np.array(found) < 0.01) <= 0.02
        assert np.mean(np.array(found) < 0.2) <= 0.25


def test_what_is_drawn_from_any_stock_comes_as_often_as_it_says():
    """Equal shares, where the bound is met, unequal ones, and a grid; a fifth of the rows copied before the split."""
    rng = np.random.default_rng(5)
    stocks = [lambda: rng.integers(0, 1_500, 1_000), lambda: rng.integers(0, 150, 1_000), lambda: rng.zipf(1.5, 1_000)]
    stocks.append(lambda: np.round(rng.normal(size=(1_000, 2)) * 30) @ [1_000, 1])
    for drawn in stocks:
        assert np.mean([rarity_of_counts(drawn()) < 0.01 for _ in range(300)]) <= 0.02
    copied = [np.concatenate([rows, rows[:300]]) for rows in (stocks[3]() for _ in range(20))]
    assert max(rarity_of_counts(rows) for rows in copied) < 1e-4


@pytest.mark.parametrize("share", [0.3, 0.6])
def test_rows_copied_before_the_split_are_found_where_rows_repeat(share):
    """A sound table has rows that come three times where many come twice; copies come twice."""
    frame = answers(6_000)
    assert judged(frame).outcome == "passed"
    assert judged(pd.concat([frame, frame.sample(frac=share, random_state=0)], ignore_index=True)).outcome == "failed"


def test_rows_that_repeat_along_time_are_no_copies():
    """What comes again after a while only, never twice in a stretch, is on both sides more often than at random."""
    year = np.random.default_rng(2).permutation(2_000)
    again = np.concatenate([year, np.random.default_rng(3).permutation(year)[:400], np.arange(4_000, 6_000)])
    again = np.concatenate([again, again[:4_400], again[:2_200]])
    seen, held = again[: len(again) * 4 // 5], again[len(again) * 4 // 5 :]
    assert rarity_of_sides(seen, held) < 1e-4
    assert rarity_of_stretch(seen, held, len(held)) > 0.01


def test_slow_numbers_repeat_along_time_and_are_no_copies():
    """Three measurements on a coarse scale that stay for hours and come back: a third of the rows, by themselves."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        slow = lfilter([0.14], [1, -0.99], rng.normal(size=(4_000, 3)), axis=0)
        frame = pd.DataFrame(np.round(5 * slow), columns=["x0", "x1", "y"])
        frame["at"] = pd.date_range("2025-01-01", periods=4_000, freq="h", tz="UTC")
        found = copied_rows(case(frame, time=True), *split_holdout(frame, case(frame, time=True)))
        assert (found.outcome, found.value > 0.1) == ("passed", True)


def test_copies_of_the_past_are_found():
    """Held-out rows that stand among the training rows as well, under another time."""
    rng = np.random.default_rng(4)
    frame = answers().assign(at=pd.date_range("2025-01-01", periods=3_000, freq="h", tz="UTC"))
    usecase = case(frame, time=True)
    train, holdout = split_holdout(frame, usecase)
    assert copied_rows(usecase, train, holdout).outcome == "passed"
    copies = train.sample(120, random_state=0).assign(at=rng.permutation(holdout["at"])[:120])
    assert copied_rows(usecase, train, pd.concat([holdout, copies])).outcome == "failed"


class Told:
    """A model that is given how sure it is of the truth, by whether a row has the features of a training row."""

    size_bytes, seed_deviation, dummy = 0, 0.0, None

    def __init__(self, train: pd.DataFrame, known: float, new: float) -> None:
        self.train = train
        self.sure_of = lambda likes: np.where(likes > 0, known, new)

    def output(self, frame: pd.DataFrame, _history: pd.DataFrame | None = None) -> Output:
        """Answer, a little more or less surely by the row."""
        likes = training_rows_like(case(self.train).contract, self.train, frame)
        sure = self.sure_of(likes) + 0.05 * np.sin(np.arange(len(frame)))
        yes = np.where(frame["y"] == "yes", sure, 1 - sure)
        classes = np.array(["no", "yes"])
        return Output(classes[(yes > 0.5).astype(int)], np.column_stack([1 - yes, yes]), classes)


def compared(
    frame: pd.DataFrame, share: float, known: float, new: float, *, first: bool = False, **leaks: object
) -> EvaluationReport:
    """Return how a challenger, so sure of known rows and of new ones, is judged against a champion that is 0.7 sure."""
    usecase = case(frame, leaks=leaks)
    train, holdout = split_holdout(frame, usecase)
    challenger = Told(train, known, new)
    if first:
        challenger.dummy = DummyClassifier(strategy="prior").fit(train, train["y"])
    return evaluate(
        challenger,
        None if first else Told(train, 0.7, 0.7),
        with_copies(train, holdout, share),
        usecase,
        rng=np.random.default_rng(0),
        train=train,
    )


def test_who_is_better_on_repeats_alone_is_held():
    """The challenger has its rows by heart, and knows less of others than the champion: better on all, worse on new."""
    new = 0.68
    report = compared(answers(), 0.02, 0.9, new)
    assert report.difference.upper < 0
    assert report.verdict == "hold"
    assert "better only where rows repeat" in report.sentence
    assert "maximum_copies_fraction" in report.sentence
    assert compared(answers(), 0.02, 0.9, new, maximum_copies_fraction=0.5).verdict == "promote"


def test_who_is_not_worse_on_new_rows_is_promoted():
    """Or not worse: then nobody is harmed, whatever the others are; and a verdict that is none is not asked about."""
    for new in (0.7, 0.8):
        report = compared(answers(), 0.02, 0.9, new)
        assert report.verdict == "promote"
        assert [guard.outcome for guard in report.guards if guard.name == "rows that no copy tells"] == ["passed"]
    assert not [
        guard for guard in compared(answers(), 0.02, 0.7, 0.7).guards if guard.name == "rows that no copy tells"
    ]


def test_a_first_model_must_be_better_than_a_constant_on_new_rows():
    """To be no worse than what says nothing would be worth nothing."""
    assert [compared(answers(), 0.02, 0.9, new, first=True).verdict for new in (0.5, 0.7)] == ["hold", "promote"]


def test_frequent_patterns_are_judged_though_none_is_new():
    """Hardly any row is new, and none will be when the model serves: one more copy of a frequent one tells little."""
    report = compared(answers()[["q0", "q1", "y"]], 0.0, 0.9, 0.7)
    guard = next(guard for guard in report.guards if guard.name == "rows that no copy tells")
    assert (report.verdict, guard.outcome) == ("promote", "passed")
    assert guard.sentence.startswith("0 of ")


def test_a_stock_of_patterns_that_come_a_few_times_each_is_asked_about():
    """Five hundred products, four rows each or so: a row like another may be its copy, unless the owner says not."""
    products = answers(500).assign(q0=np.arange(500.0))
    rows = products.iloc[np.random.default_rng(2).integers(0, 500, 2_000)].reset_index(drop=True)
    report = compared(rows, 0.0, 0.9, 0.68)
    assert report.verdict == "hold"
    assert "features that no training row has, 0 those of 10 or more" in report.sentence
    assert compared(rows, 0.0, 0.9, 0.68, maximum_copies_fraction=1.0).verdict == "promote"


def test_who_is_better_on_patterns_that_come_a_few_times_is_held():
    """Nearly no row is new: who is better only on patterns of few rows may have copies of them by heart."""
    frame = answers(3_000)[["q0", "q1", "q2", "q3", "y"]]
    usecase = case(frame)
    train, holdout = split_holdout(frame, usecase)
    likes = training_rows_like(usecase.contract, train, holdout)
    assert (likes == 0).mean() < 0.1
    assert 0.3 < ((likes > 0) & (likes < 10)).mean() < 0.6

    def verdict(often: float) -> str:
        challenger = Told(train, 0.0, 0.0)
        challenger.sure_of = lambda counts: np.where((counts > 0) & (counts < 10), 0.95, often)
        champion = Told(train, 0.7, 0.7)
        report = evaluate(challenger, champion, holdout, usecase, rng=np.random.default_rng(0), train=train)
        assert report.difference.upper < 0
        return report.verdict

    assert [verdict(0.68), verdict(0.75)] == ["hold", "promote"]


class Memory:
    """What has the rows that it was fitted on by heart, and says of others how frequent an answer is."""

    size_bytes, seed_deviation = 0, 0.0

    def __init__(self, train: pd.DataFrame) -> None:
        self.names = [name for name in train.columns if name != "y"]
        yes = train.assign(y=train["y"] == "yes").groupby(self.names)["y"].agg(["sum", "count"])
        self.usual = float((train["y"] == "yes").mean())
        self.known = (yes["sum"] + 5 * self.usual) / (yes["count"] + 5)
        self.dummy = DummyClassifier(strategy="prior").fit(train, train["y"])

    def output(self, frame: pd.DataFrame, _history: pd.DataFrame | None = None) -> Output:
        """Answer."""
        rows = pd.MultiIndex.from_frame(frame[self.names])
        yes = self.known.reindex(rows if len(self.names) > 1 else frame[self.names[0]]).fillna(self.usual).to_numpy()
        classes = np.array(["no", "yes"])
        return Output(classes[(yes > 0.5).astype(int)], np.column_stack([1 - yes, yes]), classes)


@pytest.mark.parametrize("questions", [2, 4, 7])
@pytest.mark.parametrize("copied", ["before the split", "held-out rows"])
def test_copies_promote_none_that_tells_nothing(questions, copied):
    """The answers are dealt at random, and a third of them is known by heart: however few patterns there are."""
    rng = np.random.default_rng(questions)
    for seed in range(3):
        frame = answers(seed=seed)[[*(f"q{number}" for number in range(questions)), "y"]]
        frame["y"] = rng.permutation(frame["y"])
        usecase = case(frame)
        if copied == "before the split":
            frame = pd.concat([frame, frame.sample(frac=0.3, random_state=seed)])
            frame = frame.sample(frac=1, random_state=seed, ignore_index=True)
        train, holdout = split_holdout(frame, usecase)
        if copied == "held-out rows":
            train = pd.concat([train, holdout.sample(frac=0.3, random_state=seed)], ignore_index=True)
        model = Memory(train)
        report = evaluate(model, None, holdout, usecase, rng=np.random.default_rng(0), train=train)
        assert report.verdict != "promote"


def test_a_key_that_comes_back_makes_no_row_known():
    """A customer's own rows of earlier are measured again; another's rows with the same features are known."""
    facts = pd.DataFrame({"customer": list("abc"), "x": [1.0, 2.0, 2.0], "y": [0.5, 0.6, 0.7]})
    frame = pd.concat([facts.assign(at=pd.Timestamp(f"2025-0{month}-01", tz="UTC")) for month in (1, 2)])
    base = case(frame.assign(customer=frame["x"]), time=True).model_dump(mode="json")
    base["contract"]["columns"][0] = {"name": "customer", "type": "text", "role": "key"}
    usecase = parse_usecase(base, source="keyed")
    months = [rows for _, rows in frame.groupby("at")]
    assert training_rows_like(usecase.contract, *months).tolist() == [0, 1, 1]


@pytest.mark.parametrize("noise", [0.02, 0.05])
def test_a_copy_of_a_target_with_values_far_out_is_found(noise):
    """A tree knows nothing beyond its rows: one far value among few held-out rows hides a copy from it."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"x": rng.normal(size=300), "y": rng.pareto(1.5, 300)})
        copy = frame["y"] + noise * frame["y"].std() * rng.normal(size=300)
        usecase = case(frame.assign(copy=copy))
        sides = split_holdout(frame.assign(copy=copy), usecase)
        assert columns_that_know(usecase, *sides).outcome == "failed"
        assert columns_that_know(usecase, *(side.assign(copy=side["x"]) for side in sides)).outcome == "passed"

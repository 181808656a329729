"""Leaks that hide among honest columns and rows, and the honest ones that look like them: public tables and laws."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

from mlcore.metrics import Output
from mlcore.training.run import train_model
from mlcore.training.splits import split_holdout
from mlcore.usecase import UseCase, parse_usecase
from mlcore.validation import evaluate
from mlcore.validation.copies import copied_rows
from mlcore.validation.labels import labels_turned
from mlcore.validation.nearest import fisher_g, nearness
from mlcore.validation.subject import FittedModel
from mlcore.validation.telling import columns_that_know

TABLES = {
    "iris": load_iris,
    "wine": load_wine,
    "cancer": load_breast_cancer,
    "digits": load_digits,
    "diabetes": load_diabetes,
}


def table(name: str) -> pd.DataFrame:
    """Return a public table with plain names, labels as texts."""
    frame = TABLES[name](as_frame=True).frame.copy()
    frame.columns = [f"x{number}" for number in range(frame.shape[1] - 1)] + ["y"]
    return frame if name == "diabetes" else frame.assign(y=frame["y"].map("label {}".format))


def case(frame: pd.DataFrame, *, time: bool = False, **validation: object) -> UseCase:
    """Return a use case of any table whose target is y; of others than numbers and times columns are categories.

    Rows of its table may repeat by themselves.
    """

    def column(name: str) -> dict[str, object]:
        if time and name == "at":
            return {"name": name, "type": "timestamp", "role": "time"}
        kind = "number" if frame[name].dtype.kind in "if" else "category"
        return {"name": name, "type": kind, **({"role": "target"} if name == "y" else {})}

    regression = frame["y"].dtype.kind in "if"
    estimator = "sklearn.linear_model.Ridge" if regression else "sklearn.linear_model.LogisticRegression"
    return parse_usecase(
        {
            "format": 1,
            "name": "disguised",
            "title": "Disguised",
            "owner": {"name": "Owner", "email": "owner@example.org"},
            "contract": {
                "task": "regression" if regression else "classification",
                "columns": [column(name) for name in frame.columns],
            },
            "cleaning": {"exact_duplicates": "keep"},
            "training": {"candidates": [{"name": "linear", "estimator": estimator}]},
            "validation": {"resamples": 200, **validation},
        },
        source="disguised",
    )


def judged(check, frame: pd.DataFrame, **options: object):
    """Return what `check` says of a table that is split as a training splits it."""
    usecase = case(frame, **options)
    return check(usecase, *split_holdout(frame, usecase))


def jittered(frame: pd.DataFrame, scale: float, share: float = 0.3) -> pd.DataFrame:
    """Return the table with a share of its rows once more, their numbers a little off: whole ones by one."""
    rng = np.random.default_rng(0)
    copies = frame.sample(frac=share, random_state=0)
    for name in frame.select_dtypes("number"):
        noise = scale * frame[name].std() * rng.normal(size=len(copies))
        whole = bool((frame[name] % 1 == 0).all())
        copies[name] += np.where(rng.random(len(copies)) < 0.5, np.sign(noise), 0.0) if whole else noise
    return pd.concat([frame, copies], ignore_index=True)


@pytest.mark.parametrize("name", TABLES)
def test_honest_tables_have_no_leak(name):
    """Petals that tell a flower, measurements that go together, pixels."""
    for check in (columns_that_know, copied_rows):
        assert judged(check, table(name)).outcome == "passed"


@pytest.mark.parametrize("scale", [0.01, 0.05])
@pytest.mark.parametrize("name", ["wine", "cancer", "digits", "diabetes"])
def test_copies_with_noise_are_found(name, scale):
    """Far more noise than rounding has; of whole numbers half are one off."""
    found = judged(copied_rows, jittered(table(name), scale))
    assert found.outcome == "failed"
    assert "nearly" in found.sentence


def test_copies_with_noise_are_found_among_coarse_numbers():
    """Rooms come in few numbers, places and areas in many: the copies are near in these."""
    outcomes = []
    for seed in range(4):
        rng, rows, fine = np.random.default_rng(seed), 800, ["area", "north", "east"]
        frame = pd.DataFrame(rng.integers(0, 3, (rows, 4)).astype(float)).add_prefix("rooms")
        frame[fine] = rng.normal(size=(rows, 3))
        frame["y"] = np.where(frame["rooms0"] + frame["area"] + rng.normal(0, 0.5, rows) > 1, "dear", "cheap")
        copies = frame.sample(frac=0.2, random_state=0)
        copies[fine] += 0.02 * rng.normal(size=(len(copies), 3))
        tables = frame, pd.concat([frame, copies], ignore_index=True)
        outcomes.append(tuple(judged(copied_rows, table).outcome for table in tables))
    assert outcomes == [("passed", "failed")] * 4


def test_a_dense_table_has_no_copies():
    """Two numbers, ten thousand rows, one label nearly always: neighbours are near, and none of them a copy."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"balance": rng.gamma(2, 400, 10_000).clip(200), "income": rng.normal(33e3, 13e3, 10_000)})
    frame["y"] = np.where(frame["balance"] + rng.normal(0, 200, 10_000) > 2_300, "yes", "no")
    assert judged(copied_rows, frame).outcome == "passed"


def test_rows_are_rarely_near_by_chance():
    """Of honest rows one in 20 is as near as one in 20 may be, however many columns and however they are rounded."""
    rng = np.random.default_rng(2)
    for columns, decimals in ((2, 9), (5, 1), (12, 0), (30, 9)):
        frame = pd.DataFrame(rng.normal(size=(3_000, columns)).round(decimals)).add_prefix("x")
        frame["y"] = frame.sum(axis=1) + rng.normal(size=3_000)
        usecase = case(frame)
        found = nearness(usecase.contract, *split_holdout(frame, usecase))
        assert not found.copied
        assert found.near <= 2 * found.expected + 5


def test_fisher_g_is_uniform():
    """The largest of n exponential draws, as a share of their sum, is as rare as it says."""
    draws = -np.sort(-np.random.default_rng(3).exponential(size=(4_000, 19)), axis=1)
    p = fisher_g(draws)
    assert np.abs(np.quantile(p, [0.01, 0.1, 0.5, 0.9]) - [0.01, 0.1, 0.5, 0.9]).max() < 0.02


@pytest.mark.parametrize("rows", [120, 300, 600, 2_000])
def test_a_stock_of_products_is_no_copy(rows):
    """Forty products sold again and again at their price; a table that was doubled as a whole is one."""
    rng = np.random.default_rng(4)
    stock = pd.DataFrame(
        {"width": rng.integers(10, 99, 40), "weight": rng.integers(100, 999, 40), "kind": list("ab") * 20}
    )
    stock["y"] = (stock["width"] * 3.1 + stock["weight"] / 7).round(2)
    sold = judged(copied_rows, stock.iloc[rng.integers(0, 40, rows)].reset_index(drop=True))
    assert sold.outcome == "passed"
    assert "repeat by themselves" in sold.sentence
    different = pd.DataFrame({"width": rng.integers(10, 999, rows), "weight": rng.integers(100, 9_999, rows)})
    different["y"] = different["width"] * 3.1 + different["weight"] / 7
    assert judged(copied_rows, pd.concat([different] * 3, ignore_index=True)).outcome == "failed"


def test_labels_with_errors_in_a_column_are_asked_about():
    """Two in a hundred are wrong, at random: it tells more than thirty honest columns do together."""
    frame = table("cancer")
    wrong = np.random.default_rng(5).random(len(frame)) < 0.02
    found = judged(columns_that_know, frame.assign(copy=((frame["y"] == "label 1") ^ wrong).astype(float)))
    assert found.outcome == "not_judged"
    assert "copy alone tells" in found.sentence
    assert "validation.leaks.allow" in found.sentence


def test_a_column_that_tells_one_of_several_labels_is_asked_about():
    """Whether it is that label, and nothing of the others; the other columns cannot tell it."""
    rng = np.random.default_rng(6)
    frame = pd.DataFrame(rng.normal(size=(2_000, 4))).add_prefix("x")
    frame["y"] = np.array(list("abcd"))[np.digitize(frame["x0"] + rng.normal(size=2_000), [-1, 0, 1])]
    assert judged(columns_that_know, frame).outcome == "passed"
    found = judged(columns_that_know, frame.assign(told=(frame["y"] == "b").astype(float)))
    assert found.outcome == "not_judged"
    assert "whether y is b" in found.sentence
    allowed = frame.assign(told=(frame["y"] == "b").astype(float))
    assert judged(columns_that_know, allowed, leaks={"allow": ["told"]}).outcome == "passed"


def test_an_honest_yes_or_no_errs_where_others_err():
    """A test that is wrong about the cases that are hard to tell is no copy of the label, though it tells most."""
    rng = np.random.default_rng(7)
    severity = rng.normal(size=4_000)
    frame = pd.DataFrame({f"x{number}": severity + rng.normal(0, 0.6, 4_000) for number in range(3)})
    frame["test"] = np.where(severity + rng.normal(0, 0.15, 4_000) > 0, 1.0, 0.0)
    frame["y"] = np.where(severity > 0, "ill", "well")
    assert judged(columns_that_know, frame).outcome == "passed"


def test_the_last_value_of_what_moves_slowly_is_no_leak():
    """A random walk is told by its last value, and by its mean of a day; a copy with noise tells more than both."""
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"at": pd.date_range("2025-01-01", periods=3_000, freq="h", tz="UTC"), "noise": 0.0})
    frame["noise"] = rng.normal(size=3_000)
    frame["y"] = 20 + 5 * np.sin(np.arange(3_000) / 30) + rng.normal(0, 0.2, 3_000).cumsum() * 0.05
    known = frame.assign(last=frame["y"].shift(1), mean=frame["y"].shift(1).rolling(3).mean()).dropna()
    assert judged(columns_that_know, known, time=True).outcome == "passed"
    copied = frame.assign(copy=frame["y"] + 0.02 * frame["noise"])
    assert "copy" in judged(columns_that_know, copied, time=True).sentence
    assert judged(columns_that_know, copied, time=True).outcome == "failed"


class Answering:
    """A model whose answers are given, a row each, by the column `row`."""

    size_bytes, seed_deviation, dummy = 0, 0.0, None

    def __init__(self, probabilities: np.ndarray) -> None:
        self.probabilities = probabilities

    def output(self, frame: pd.DataFrame, _history: pd.DataFrame | None = None) -> Output:
        """Return the answers of these rows."""
        given = self.probabilities[frame["row"].fillna(0).to_numpy(dtype=int)]
        classes = np.array(["a", "b", "c"])
        return Output(classes[given.argmax(axis=1)], given, classes)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.75, 1.0])
def test_labels_exchanged_in_most_rows_are_found(share):
    """Of three labels two: the challenger has learned them as they now are, the champion as they were."""
    rng = np.random.default_rng(9)
    true = rng.integers(0, 3, 3_000)
    scores = 2.5 * np.eye(3)[true] + rng.normal(size=(3_000, 3))
    champion = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    exchanged = champion[:, [1, 0, 2]]
    challenger = (1 - share) * champion + share * exchanged
    turned = (rng.random(3_000) < share) & (true < 2)
    frame = pd.DataFrame({"row": np.arange(3_000.0), "y": np.array(list("abc"))[np.where(turned, 1 - true, true)]})
    usecase = case(frame)
    report = evaluate(
        Answering(challenger),
        Answering(champion),
        frame.iloc[:1_000],
        usecase,
        rng=np.random.default_rng(0),
        train=frame.iloc[1_000:],
    )
    found = [guard for guard in report.failures if guard.name == "labels"]
    assert bool(found) == (share > 0.5)
    assert not found or "swapped" in found[0].sentence


def test_long_tables_and_empty_columns_are_no_traceback():
    """Nothing to measure nearness by; a column without a value; and copies among more rows than are looked at."""
    rng = np.random.default_rng(10)
    frame = pd.DataFrame({"x0": rng.choice(list("abc"), 30_000), "y": rng.choice(["yes", "no"], 30_000)})
    assert judged(copied_rows, frame).outcome == "passed"
    frame = frame.assign(x1=rng.normal(size=30_000), x2=np.nan, x3=np.where(rng.random(30_000) < 0.5, np.inf, 1e300))
    assert judged(copied_rows, frame).outcome == "passed"
    frame = frame.assign(x2=rng.normal(size=30_000), x3=rng.normal(size=30_000))
    assert judged(copied_rows, jittered(frame, 0.001)).outcome == "failed"


def test_a_target_with_errors_among_noise_and_an_empty_column_is_asked_about():
    """A copy of the labels, 3 % of them turned; the errors of one in twenty happen to fall where others err, too."""
    missed = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"x0": rng.normal(size=500), "x1": np.nan, "y": rng.choice(["yes", "no"], 500)})
        copy = ((frame["y"] == "yes") ^ (rng.random(500) < 0.03)).astype(float)
        missed += judged(columns_that_know, frame.assign(copy=copy)).outcome == "passed"
    assert missed <= 2


def told_by_the_champion(said: np.ndarray, truth: np.ndarray, learned: np.ndarray) -> str:
    """Return what `labels_turned` makes of a champion's answers; `learned` are those of a challenger."""
    usecase = case(pd.DataFrame({"said": said, "y": truth}))
    subject = SimpleNamespace(
        usecase=usecase, frame=pd.DataFrame(), truth=truth, opponent=Output(said), challenger=Output(learned)
    )
    return labels_turned(subject).outcome


def test_another_unit_is_found_on_few_rows():
    """Seventy rows tell a slope to a sixth: a sound champion's is further from 1 now and then, and still no ten."""
    rng = np.random.default_rng(11)
    found = {1.0: 0, 3.0: 0, 10.0: 0}
    for _ in range(20):
        said = rng.normal(50, 7, 70)
        truth = said + rng.normal(0, 7, 70)
        for factor in found:
            found[factor] += told_by_the_champion(said, factor * truth, np.full(70, factor * 50.0)) == "failed"
    assert found == {1.0: 0, 3.0: 0, 10.0: 20}


@pytest.mark.parametrize(("factor", "found"), [(1.0, "passed"), (-1.0, "failed"), (3.0, "passed"), (10.0, "failed")])
def test_two_weak_models_tell_the_unit_and_the_sign(factor, found):
    """Of a target that features hardly tell both models have learned the same, but for what it is measured in."""
    rng = np.random.default_rng(13)
    for _ in range(10):
        said = rng.normal(120, 4, 300)
        truth, learned = said + rng.normal(0, 20, 300), said + rng.normal(0, 2, 300)
        assert told_by_the_champion(said, factor * truth, factor * learned) == found


@pytest.mark.parametrize(("factor", "found"), [(1.0, "passed"), (3.0, "passed"), (10.0, "failed"), (0.001, "failed")])
def test_a_champion_that_says_less_of_what_is_far_out_tells_the_unit(factor, found):
    """Profits and losses: models that were fitted to absolute errors go with them, at half of their spread or so."""
    rng = np.random.default_rng(16)
    profit = rng.standard_t(3, 300)
    said, learned = (share * profit + rng.normal(0, 0.2, 300) for share in (0.45, 0.75))
    assert told_by_the_champion(said, factor * profit, factor * learned) == found


def test_labels_that_weak_models_tell_in_opposite_ways_were_exchanged():
    """Where features tell a little of the answer, two models tell it alike, or just the other way round."""

    def asked(seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame(rng.normal(size=(4_000, 2))).add_prefix("x")
        return frame.assign(y=np.where(rng.random(4_000) < 0.5 + 0.03 * frame["x0"], "yes", "no"))

    usecase, later = case(asked(1)), asked(1)
    champion = FittedModel(train_model(asked(0), usecase, seed=0).pipeline)
    outcomes = []
    for frame in (later, later.assign(y=later["y"].map({"yes": "no", "no": "yes"}))):
        trained = train_model(frame, usecase, seed=0)
        challenger = FittedModel(trained.pipeline, trained.dummy)
        train, holdout = split_holdout(frame, usecase)
        report = evaluate(challenger, champion, holdout, usecase, rng=np.random.default_rng(0), train=train)
        outcomes.append([guard.name for guard in report.failures if guard.kind == "leak"])
    assert outcomes == [[], ["labels"]]


def test_what_is_far_from_zero_has_a_sign():
    """Volumes that grew and came with a minus are no volumes; degrees below zero are a winter."""
    rng = np.random.default_rng(14)
    noise = rng.normal(size=(2, 300))
    volume, winter = 30 + noise[0], 3 + 5 * noise[0]
    assert told_by_the_champion(volume, -(90 + 9 * noise[1]), np.full(300, -90.0)) == "failed"
    assert told_by_the_champion(volume, 90 + 9 * noise[1], np.full(300, 90.0)) == "passed"
    assert told_by_the_champion(winter, winter - 12 + 5 * noise[1], winter - 12) == "passed"


@pytest.mark.parametrize(
    ("factor", "found"), [(1, "passed"), (2.2, "passed"), (10, "failed"), (0.01, "failed"), (-1, "failed")]
)
def test_what_is_never_negative_has_a_level_and_a_sign(factor, found):
    """Days in a hospital, of which features tell nothing: the champion says what is usual, and knows that much."""
    rng = np.random.default_rng(15)
    for middle in (np.mean, np.median):
        days = rng.geometric(0.15, 150).astype(float)
        said = middle(days) * rng.lognormal(0, 0.05, 150)
        assert told_by_the_champion(said, factor * days, np.full(150, factor * middle(days))) == found


@pytest.mark.parametrize(("mean", "noise", "found"), [(50, 7, True), (50, 14, True), (0, 7, True), (0, 14, False)])
def test_a_sign_that_was_turned_is_found_by_a_weak_champion(mean, noise, found):
    """One that tells a fifth of what varies knows a price's sign; of what is about 0 it must know more."""
    rng = np.random.default_rng(12)
    said = rng.normal(mean, 7, 300)
    truth = said + rng.normal(0, noise, 300)
    outcomes = [told_by_the_champion(said, sign * truth, np.full(300, sign * float(mean))) for sign in (1, -1)]
    assert outcomes == ["passed", "failed" if found else "passed"]


@pytest.mark.parametrize("rows", [500, 6_000])
def test_a_rare_labels_copy_errs_within_the_label(rows):
    """Of a label of few rows others tell nearly all wrong: that a copy's errors are among these proves nothing."""
    passed = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        frame = pd.DataFrame({"x0": rng.normal(size=rows), "x1": rng.normal(size=rows)})
        frame["y"] = np.where(frame["x0"] + rng.normal(0, 1, rows) > 2.2, "yes", "no")
        turned = rng.random(rows) < 0.06 * np.where(frame["y"] == "yes", 1, 0.05)
        copy = ((frame["y"] == "yes") ^ turned).astype(float)
        passed += judged(columns_that_know, frame.assign(copy=copy)).outcome == "passed"
    assert passed <= 1


CLASSES = {
    "its logarithm": ("failed", np.log),
    "its twentieths": ("failed", lambda y: pd.qcut(y, 20, labels=False)),
    "its tenths as texts": ("failed", lambda y: pd.qcut(y, 10, labels=list("hcagfjdbei")).astype(str)),
    "its quarters": ("not_judged", lambda y: pd.qcut(y, 4, labels=False)),
    "whether it is above the median": ("not_judged", lambda y: (y > y.median()).astype(int)),
    "whether it is far out": ("not_judged", lambda y: (y > y.quantile(0.98)).astype(int)),
    "what it is mostly made of, rounded": ("passed", lambda y: np.round(2 * np.log(y) + NOISE[: len(y)])),
}
NOISE = np.random.default_rng(11).normal(size=3_000)


@pytest.mark.parametrize("made", CLASSES)
def test_classes_of_a_target_with_values_far_out_are_found(made):
    """They tell little of the squared error, which a few rows make, and nearly all of the order."""
    outcome, make = CLASSES[made]
    x = np.random.default_rng(12).normal(size=3_000)
    frame = pd.DataFrame({"x": x, "y": np.exp(x + 1.3 * NOISE[::-1])})
    assert judged(columns_that_know, frame).outcome == "passed"
    found = judged(columns_that_know, frame.assign(extra=make(frame["y"])))
    assert found.outcome == outcome
    assert outcome == "passed" or "extra" in found.sentence


def test_a_gap_between_two_labels_is_cut_in_its_middle():
    """The lowest number of a rare label is held out: it lies between those of both, and is nearer to its own."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rare = np.arange(200) % 5 == 0
        frame = pd.DataFrame({"x": rng.normal(size=200), "code": rare + rng.normal(0, 0.1, 200)})
        assert judged(columns_that_know, frame.assign(y=np.where(rare, "yes", "no"))).outcome == "failed"


def of_three(rows: int, seed: int) -> pd.DataFrame:
    """Return rows of three labels: what sets the two frequent ones apart is hardly told."""
    rng = np.random.default_rng(seed)
    y = rng.choice(list("abc"), rows, p=[0.5, 0.35, 0.15])
    x0 = rng.normal(size=rows) + 1.5 * (y == "c")
    return pd.DataFrame({"x0": x0, "x1": rng.normal(size=rows) + 0.2 * (y == "b"), "y": y})


@pytest.mark.parametrize("seed", range(3))
def test_labels_that_have_each_others_share_and_are_told_in_opposite_ways_were_exchanged(seed):
    """What one hardly knows tells too little by itself; labels that only became as frequent as each other are new."""
    usecase = case(of_three(2_000, seed))
    champion = FittedModel(train_model(of_three(2_000, seed), usecase, seed=0).pipeline)
    later = of_three(2_000, 10 + seed)
    found = []
    for labels in ({}, {"a": "b", "b": "a"}):
        frame = later.assign(y=later["y"].replace(labels))
        trained = train_model(frame, usecase, seed=0)
        train, holdout = split_holdout(frame, usecase)
        challenger = FittedModel(trained.pipeline, trained.dummy)
        report = evaluate(challenger, champion, holdout, usecase, rng=np.random.default_rng(0), train=train)
        found.append([guard.name for guard in report.failures if guard.name == "labels"])
    assert found == [[], ["labels"]]

"""Tables with something wrong in them end in the right outcome, explained: no promotion, no traceback."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.datasets import load_iris

from mlcore.data.cleaning import clean
from mlcore.errors import TrainingError
from mlcore.policy.cleaning import CleaningPolicy
from mlcore.training.run import train_model
from mlcore.training.splits import split_holdout
from mlcore.usecase import UseCase, parse_usecase
from mlcore.validation import EvaluationReport, evaluate
from mlcore.validation.copies import copied_rows
from mlcore.validation.leaks import leaks_of_rows
from mlcore.validation.subject import FittedModel
from mlcore.validation.telling import columns_that_know

HOURS = 2_000


def heating(seed: int = 0, hours: int = HOURS) -> pd.DataFrame:
    """Return hourly heat demand: of temperature, wind and the hour, with noise that lasts for hours."""
    rng = np.random.default_rng(seed)
    at = pd.date_range("2025-01-01", periods=hours, freq="h", tz="UTC")
    temperature = 8 - 9 * np.cos(2 * np.pi * np.arange(hours) / 24) + rng.normal(0, 3, hours)
    wind = rng.gamma(2, 2, hours)
    noise = pd.Series(rng.normal(0, 4, hours)).ewm(halflife=4).mean().to_numpy() * 2
    demand = 90 - 3 * temperature + 1.5 * wind + 5 * np.isin(at.hour, [7, 8, 18, 19]) + noise
    return pd.DataFrame({"at": at, "temperature": temperature, "wind": wind, "extra": 0.0, "demand": demand})


def visits(seed: int = 0, rows: int = HOURS) -> pd.DataFrame:
    """Return visitors who buy or not, without a time."""
    rng = np.random.default_rng(seed)
    pages, age = rng.poisson(6, rows), rng.normal(40, 12, rows)
    device = rng.choice(["phone", "desktop", "tablet"], rows)
    odds = 1 / (1 + np.exp(-(0.5 * (pages - 6) + (device == "desktop") - 0.5)))
    buys = np.where(rng.random(rows) < odds, "yes", "no")
    return pd.DataFrame({"pages": pages, "age": age, "device": device, "extra": 0.0, "buys": buys})


def usecase(task: str, **validation: object) -> UseCase:
    """Return the use case of either table."""
    regression = task == "regression"
    columns = [
        {"name": "at", "type": "timestamp", "role": "time"},
        {"name": "temperature", "type": "number"},
        {"name": "wind", "type": "number"},
        {"name": "extra", "type": "number", "maximum_missing_fraction": 1.0},
        {"name": "demand", "type": "number", "role": "target"},
    ]
    if not regression:
        columns = [
            {"name": "pages", "type": "integer"},
            {"name": "age", "type": "number"},
            {"name": "device", "type": "category", "categories": ["phone", "desktop", "tablet"]},
            {"name": "extra", "type": "number", "maximum_missing_fraction": 1.0},
            {"name": "buys", "type": "category", "role": "target"},
        ]
    estimator = "HistGradientBoostingRegressor" if regression else "HistGradientBoostingClassifier"
    return parse_usecase(
        {
            "format": 1,
            "name": "planted",
            "title": "Planted",
            "owner": {"name": "Owner", "email": "owner@example.org"},
            "contract": {"task": task, "columns": columns},
            "training": {
                "features": [{"kind": "calendar", "columns": ["at"], "parts": ["hour"]}] if regression else [],
                "candidates": [
                    {"name": "boosting", "estimator": f"sklearn.ensemble.{estimator}", "parameters": {"max_iter": 40}}
                ],
                "search": {"folds": 2, "trials": 2, "holdout_fraction": 0.2},
            },
            "validation": {"resamples": 300, **({"block": "P1D"} if regression else {}), **validation},
        },
        source="planted",
    )


def repeating(case: UseCase) -> UseCase:
    """Return the use case of a table whose rows repeat by themselves."""
    return case.model_copy(update={"cleaning": CleaningPolicy(exact_duplicates="keep")})


def judge(case: UseCase, frame: pd.DataFrame, champion: FittedModel | None = None) -> EvaluationReport:
    """Train on `frame` and judge the result on its newest rows, as the flows do."""
    model = fitted(case, frame)
    train, holdout = split_holdout(frame, case)
    return evaluate(model, champion, holdout, case, rng=np.random.default_rng(0), train=train)


def fitted(case: UseCase, frame: pd.DataFrame) -> FittedModel:
    """Train on `frame`."""
    trained = train_model(frame, case, seed=0)
    return FittedModel(trained.pipeline, trained.dummy, own_scores=trained.scores.holdout)


def judge_table(case: UseCase, frame: pd.DataFrame) -> EvaluationReport:
    """Judge a model that has learned nothing: what is found is in the table, whatever is trained on it."""
    train, holdout = split_holdout(frame, case)
    constant = Constant(train[case.contract.target.name])
    return evaluate(FittedModel(constant, constant), None, holdout, case, rng=np.random.default_rng(0), train=train)


class Constant:
    """The model that always gives the same answer."""

    def __init__(self, target: pd.Series) -> None:
        self.target = target
        if target.dtype == object:
            self.classes_ = np.unique(target)
            self.predict_proba = lambda frame: np.full((len(frame), len(self.classes_)), 1 / len(self.classes_))

    def predict(self, frame: pd.DataFrame) -> np.ndarray:
        """Answer the median."""
        return np.full(len(frame), self.target.median())


def leaks(report: EvaluationReport) -> list[str]:
    """Return the names of the leaks that were found."""
    return [guard.name for guard in report.failures if guard.kind == "leak"]


@pytest.mark.parametrize(("task", "table"), [("regression", heating), ("classification", visits)])
def test_a_sound_table_is_promoted(task, table):
    """Nothing planted, nothing found; the first model beats the dummy."""
    report = judge(usecase(task), table())
    assert (report.verdict, leaks(report)) == ("promote", [])
    assert len(report.calibration) == 10
    assert {metric.name for metric in report.metrics} >= ({"r2"} if task == "regression" else {"roc_auc"})


NOISE = np.random.default_rng(7).normal(size=HOURS)
PLANTED = {
    "the target itself": ("target in a column", lambda f: f["demand"]),
    "the target in another unit": ("target in a column", lambda f: 32 - 1.8 * f["demand"]),
    "the target with noise": ("target in a column", lambda f: f["demand"] + NOISE),
    "the next row's target": ("column from the future", lambda f: f["demand"].shift(-1)),
    "the next row's target with noise": ("column from the future", lambda f: f["demand"].shift(-1) + NOISE),
    "the mean of the next six": (
        "column from the future",
        lambda f: f["demand"][::-1].rolling(6).mean()[::-1].shift(-1),
    ),
    "tomorrow's target": ("column from the future", lambda f: f["demand"].shift(-24)),
    "the target for some of the rows": ("target in a column", lambda f: f["demand"].where(NOISE > 0.8)),
    "the target, 0 for the others": ("target in a column", lambda f: f["demand"].where(NOISE > 0.5, 0.0)),
    "the target among other numbers": ("target in a column", lambda f: f["demand"].where(NOISE > 0.3, 90 + 20 * NOISE)),
    "the target in tiny numbers": ("target in a column", lambda f: f["demand"] * 1e-30),
    "the target in huge numbers": ("target in a column", lambda f: np.exp(f["demand"])),
    "a curve of the next row's target": ("column from the future", lambda f: np.exp(f["demand"].shift(-1) / 20)),
    "the target in five rows": ("column from the future", lambda f: 7 - f["demand"].shift(-5)),
    "the largest of the next six": (
        "column from the future",
        lambda f: f["demand"][::-1].rolling(6).max()[::-1].shift(-1),
    ),
    "a mean around the row": ("column from the future", lambda f: f["demand"].rolling(5, center=True).mean()),
    "how much it will rise": ("column from the future", lambda f: f["demand"].shift(-1) - f["demand"]),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_column_that_knows_the_answer_is_found(planted):
    """The target, its near copies and its future among the features: rejected, the column named."""
    name, make = PLANTED[planted]
    report = judge_table(usecase("regression"), heating().assign(extra=make))
    assert report.verdict == "reject"
    assert leaks(report) == [name]
    assert "extra" in report.sentence


def test_a_column_from_the_past_is_no_leak():
    """The last hour's target, yesterday's, the last day's mean and what only goes on with time were known."""
    demand = heating()["demand"]
    for column in (demand.shift(1), demand.shift(24), demand.shift(1).rolling(24).mean(), demand.index + 10 * NOISE):
        assert leaks(judge_table(usecase("regression"), heating().assign(extra=column))) == []


def test_an_owner_may_vouch_for_a_column():
    """A telling column that is known beforehand is allowed by name, and the whole by its own limit."""
    frame = heating().assign(extra=lambda f: f["demand"] + NOISE)
    allowed = usecase("regression", leaks={"allow": ["extra"], "maximum_skill": 1.0})
    assert judge(allowed, frame).verdict == "promote"


def test_columns_that_hold_the_answer_together_are_found():
    """Two parts of a sum: neither alone gives the answer away, both do."""
    part = np.random.default_rng(3).uniform(0, 100, HOURS)
    frame = heating().assign(wind=part, extra=lambda f: f["demand"] - part)
    case = usecase("regression")
    linear = {"name": "linear", "estimator": "sklearn.linear_model.LinearRegression"}
    training = case.training.model_dump(mode="json") | {"candidates": [linear]}
    case = parse_usecase({**case.model_dump(mode="json"), "training": training}, source="planted")
    report = judge(case, frame)
    assert (report.verdict, leaks(report)) == ("reject", ["too good to be true"])


@pytest.mark.parametrize("label", ["yes", "no"])
def test_a_class_in_disguise_is_found(label):
    """A number that is 1 where the class is `label`, with one mistake in a hundred."""
    noise = np.random.default_rng(5).random(HOURS) < 0.01
    frame = visits().assign(extra=lambda f: ((f["buys"] == label) ^ noise).astype(float))
    assert leaks(judge(usecase("classification"), frame)) == ["target in a column"]


def test_missing_exactly_where_the_class_is_is_found():
    """A column filled in only after the event."""
    frame = visits().assign(extra=lambda f: np.where(f["buys"] == "yes", 3.0, np.nan))
    assert "target in a column" in leaks(judge(usecase("classification"), frame))


def test_a_code_of_the_class_is_found():
    """Many numbers, each of one class; and a column that is filled in for some rows alone."""
    codes = 2 * np.random.default_rng(2).integers(0, 40, HOURS)
    frame = visits().assign(extra=lambda f: codes + (f["buys"] == "yes"))
    assert leaks(judge_table(usecase("classification"), frame)) == ["target in a column"]
    frame = visits().assign(extra=lambda f: (f["buys"] == "yes").where(NOISE > 0.5).astype(float))
    report = judge_table(usecase("classification"), frame)
    assert leaks(report) == ["target in a column"]
    assert "where it is filled in" in report.sentence
    text = visits().assign(device=lambda f: f["buys"].map({"yes": "phone", "no": "tablet"}).where(NOISE > 0.5))
    assert leaks(judge_table(usecase("classification"), text)) == ["target in a column"]


def test_missing_for_one_of_several_labels_is_found():
    """A column that only one label has leaves the others untold, and still was filled in after the event."""
    some = np.random.default_rng(4).random(HOURS) < 0.3
    frame = visits().assign(buys=lambda f: f["buys"].mask(some, "later"))
    assert leaks(judge_table(usecase("classification"), frame)) == []
    report = judge_table(usecase("classification"), frame.assign(extra=np.where(some, NOISE, np.nan)))
    assert leaks(report) == ["target in a column"]
    assert "whether buys is later" in report.sentence


def test_the_next_label_under_another_name_is_found():
    """A text that is renamed, and a series for each of several places that report at the same time."""
    rng = np.random.default_rng(6)
    at = pd.date_range("2025-01-01", periods=HOURS // 4, freq="h", tz="UTC")
    places = [
        pd.DataFrame(
            {"at": at, "place": place, "weather": rng.choice(["sun", "rain", "fog"], len(at), p=[0.5, 0.3, 0.2])}
        )
        for place in ("north", "south", "east", "west")
    ]
    after = [place["weather"].shift(-1).map({"sun": "b", "rain": "c", "fog": "a"}) for place in places]
    frame = pd.concat([place.assign(hint=hint) for place, hint in zip(places, after, strict=True)])
    columns = [
        {"name": "at", "type": "timestamp", "role": "time"},
        {"name": "place", "type": "category"},
        {"name": "hint", "type": "category", "maximum_missing_fraction": 0.1},
        {"name": "weather", "type": "category", "role": "target"},
    ]
    base = usecase("classification").model_dump(mode="json")
    case = parse_usecase({**base, "contract": {"task": "classification", "columns": columns}}, source="planted")
    frame = frame.sort_values("at", kind="stable")
    assert leaks(judge_table(case, frame)) == ["column from the future"]
    mixed = frame.sample(frac=1, random_state=0).sort_values("at", kind="stable")
    mixed.iloc[[0, 501, 1001], mixed.columns.get_loc("place")] = "north"  # or a place under the name of another
    assert leaks(judge_table(case, mixed)) == ["column from the future"]
    of_the_next_row = frame["weather"].shift(-1).map({"sun": "b", "rain": "c", "fog": "a"})
    assert leaks(judge_table(case, frame.assign(hint=of_the_next_row))) == ["column from the future"]
    assert leaks(judge_table(case, frame.assign(hint=rng.permutation(frame["hint"])))) == []


def test_infinite_numbers_are_no_traceback():
    """A model takes them as missing; the gate takes them as very large."""
    frame = heating().assign(extra=np.where(NOISE > 1, np.inf, NOISE), wind=lambda f: f["wind"] * 1e300)
    assert judge(usecase("regression"), frame).verdict == "promote"


@pytest.mark.parametrize("noise", [1e-9, 1e-3])
@pytest.mark.parametrize(("task", "table"), [("regression", heating), ("classification", visits)])
def test_rows_nearly_on_both_sides_are_found(task, table, noise):
    """A third of the rows twice, every measured number of the copies a little off, with another time."""
    frame = table().assign(extra=NOISE)
    copies = frame.sample(frac=0.3, random_state=1)
    rng = np.random.default_rng(8)
    for name in frame.select_dtypes("float"):
        copies[name] += noise * frame[name].std() * rng.normal(size=len(copies))
    if task == "regression":
        copies = copies.assign(at=frame["at"].max() - (copies["at"] - frame["at"].min()) / 10 + pd.Timedelta("7min"))
    report = judge_table(usecase(task), pd.concat([frame, copies], ignore_index=True))
    assert leaks(report) == ["rows on both sides"]
    assert "nearly" in report.sentence


def flowers() -> tuple[UseCase, pd.DataFrame]:
    """Return a table of few rows that one column tells nearly for certain, measured to a millimetre."""
    frame = load_iris(as_frame=True).frame.rename(columns=lambda name: name.replace(" (cm)", "").replace(" ", "_"))
    columns = [{"name": name, "type": "number"} for name in frame.columns[:4]]
    columns.append({"name": "target", "type": "category", "role": "target"})
    base = usecase("classification").model_dump(mode="json")
    case = parse_usecase({**base, "contract": {"task": "classification", "columns": columns}}, source="planted")
    return case, frame.assign(target=frame["target"].map({0: "a", 1: "b", 2: "c"}))


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_copies_among_coarse_numbers_are_found(share):
    """Half of the columns are often equal, all of them hardly ever but for copies."""
    case, frame = flowers()
    twice = pd.concat([frame, frame.sample(frac=share, random_state=1)], ignore_index=True)
    assert copied_rows(case, *split_holdout(frame, case)).outcome == "passed"
    assert copied_rows(case, *split_holdout(twice, case)).outcome == "failed"


def test_a_column_that_tells_few_held_out_rows_by_luck_is_no_leak():
    """The width of a petal is wrong about six of 150 flowers, in five of twelve splits about at most one held out."""
    case, frame = flowers()
    found, planted = [], frame.assign(petal_width=frame["target"].map({"a": 2.0, "b": 1.0, "c": 3.0}))
    for seed in range(12):
        shuffled = [table.sample(frac=1, random_state=seed, ignore_index=True) for table in (frame, planted)]
        found.append([columns_that_know(case, *split_holdout(table, case)).outcome for table in shuffled])
    assert found == [["passed", "failed"]] * 12


@pytest.mark.parametrize("rows", [200, 2_000])
def test_coarse_numbers_that_repeat_by_themselves_are_no_copies(rows):
    """Ages and counts, apart or going together, that tell the class for certain."""
    rng = np.random.default_rng(rows)
    pages, age = rng.poisson(6, rows), rng.integers(18, 80, rows)
    for second in (age, pages * 5 + rng.integers(0, 3, rows)):
        frame = visits(rows=rows).assign(pages=pages, age=second.astype(float))
        frame["buys"] = np.where(frame["age"] + 3 * pages > 60, "yes", "no")
        case = repeating(usecase("classification"))
        assert copied_rows(case, *split_holdout(frame, case)).outcome == "passed"


def test_rows_that_tell_the_class_and_repeat_by_themselves_are_no_copies():
    """Few patterns, each nearly always of one class; or one pattern, as of a machine that stands still, very often."""
    few = visits().assign(age=lambda f: f["age"].round(-1), pages=lambda f: f["pages"] // 3)
    few["buys"] = np.where((few["pages"] > 1) ^ (np.random.default_rng(9).random(HOURS) < 0.01), "yes", "no")
    allowed = usecase("classification", leaks={"allow": ["pages"]})
    assert leaks(judge_table(allowed, few)) == []
    rounded = visits(rows=6_000).assign(
        age=lambda f: f["age"].round(0), extra=np.random.default_rng(2).integers(0, 99, 6_000)
    )
    rounded = rounded.assign(
        pages=1, device="phone", buys=np.where(rounded["age"] + rounded["extra"] > 90, "yes", "no")
    )
    assert leaks(judge_table(usecase("classification"), rounded)) == []
    idle = heating().assign(extra=NOISE)
    idle.loc[NOISE > 0.5, ["temperature", "wind", "extra", "demand"]] = 0.0
    allowed = usecase("regression", leaks={"allow": ["temperature"]})
    assert leaks(judge_table(allowed, idle)) == []


def test_a_key_that_comes_back_is_measured_again():
    """Customers whose facts do not change are asked every month; without the key they are copies."""
    rng = np.random.default_rng(10)
    one = visits(rows=300).assign(customer=[f"c{number}" for number in range(300)], extra=rng.normal(size=300))
    months = pd.date_range("2025-01-01", periods=8, freq="MS", tz="UTC")
    frame = pd.concat([one.assign(at=month) for month in months], ignore_index=True)
    for role, copied in (("key", False), ("metadata", True)):
        columns = [
            {"name": "at", "type": "timestamp", "role": "time"},
            {"name": "customer", "type": "text", "role": role},
            *usecase("classification").model_dump(mode="json")["contract"]["columns"],
        ]
        base = usecase("classification").model_dump(mode="json")
        case = parse_usecase({**base, "contract": {"task": "classification", "columns": columns}}, source="planted")
        assert ("rows on both sides" in leaks(judge_table(case, frame))) == copied
        assert copied or leaks(judge_table(case, frame)) == []


@pytest.mark.parametrize(("task", "table"), [("regression", heating), ("classification", visits)])
def test_rows_on_both_sides_of_the_split_are_found(task, table):
    """A tenth of the rows twice, the copies at other times."""
    frame = table()
    copies = frame.sample(frac=0.3, random_state=1)
    if task == "regression":
        copies = copies.assign(at=frame["at"].max() - (copies["at"] - frame["at"].min()) / 10 + pd.Timedelta("7min"))
    report = judge(usecase(task), pd.concat([frame, copies], ignore_index=True))
    assert report.verdict == "reject"
    assert leaks(report) == ["rows on both sides"]


def test_rows_that_repeat_by_themselves_are_no_copies():
    """With few distinct rows equal ones are to be expected; their targets differ as chance has it."""
    frame = visits().assign(age=lambda f: f["age"].round(-1))
    report = judge(repeating(usecase("classification")), frame)
    assert (report.verdict, leaks(report)) == ("promote", [])


def test_rows_that_cleaning_would_have_dropped_are_asked_about():
    """The very same rows, where repeated rows are dropped: none can repeat by themselves, and they came otherwise."""
    case, frame = usecase("classification"), visits().assign(age=lambda f: f["age"].round(-1))
    report = judge(case, frame)
    assert (report.verdict, leaks(report)) == ("hold", [])
    assert "cleaning drops rows that repeat another" in report.sentence
    assert "cleaning.exact_duplicates be keep" in report.sentence
    cleaned = clean(pa.Table.from_pandas(frame), case.contract, case.cleaning).table.to_pandas()
    assert copied_rows(case, *split_holdout(cleaned, case)).outcome == "passed"


def test_labels_that_were_exchanged_are_not_learned():
    """The champion is right on the old labels; with yes and no exchanged the challenger 'wins' and is refused."""
    case = usecase("classification")
    champion = fitted(case, visits())
    turned = visits(seed=1).assign(buys=lambda f: f["buys"].map({"yes": "no", "no": "yes"}))
    report = judge(case, turned, champion)
    assert (report.verdict, leaks(report)) == ("reject", ["labels"])
    assert any("swapped" in reason for reason in report.reasons)


def test_a_weak_champions_labels_that_were_exchanged_are_found_too():
    """One that says hardly anything but the frequent label, yet with the right probabilities."""
    case = usecase("classification")
    rare = visits().assign(buys=lambda f: f["buys"].where(np.random.default_rng(3).random(HOURS) < 0.6, "no"))
    champion = fitted(case, rare)
    assert (champion.pipeline.predict(rare) == "no").mean() > 0.7
    turned = rare.assign(buys=lambda f: f["buys"].map({"yes": "no", "no": "yes"}), age=lambda f: f["age"] + 0.5)
    assert leaks(judge(case, turned, champion)) == ["labels"]


@pytest.mark.parametrize(("share", "found"), [(0.08, []), (0.4, []), (0.92, ["labels"])])
def test_a_champion_that_knows_nothing_but_how_frequent_labels_are_finds_them_exchanged(share, found):
    """One row in twelve is a yes, and no feature tells which; then eleven are, or as many as chance or life has it."""
    case, rng = usecase("classification"), np.random.default_rng(4)
    champion = fitted(case, visits().assign(buys=np.where(rng.random(HOURS) < 0.08, "yes", "no")))
    later = visits(seed=1).assign(buys=np.where(rng.random(HOURS) < share, "yes", "no"))
    report = judge(case, later, champion)
    assert leaks(report) == found
    assert not found or report.verdict == "reject"


@pytest.mark.parametrize(("task", "table"), [("regression", heating), ("classification", visits)])
def test_labels_that_were_shuffled_are_not_learned(task, table):
    """The champion knows nothing of them; the challenger beats it with the answer that is the same for all rows."""
    case, target = usecase(task), table().columns[-1]
    champion = fitted(case, table())
    mixed = table(seed=1)
    report = judge(case, mixed.assign(**{target: np.random.default_rng(1).permutation(mixed[target])}), champion)
    assert report.verdict in ("hold", "reject")
    assert any("baseline" in reason for reason in report.reasons)


def plain_visits(seed: int = 0) -> pd.DataFrame:
    """Return visits whose pages nearly tell the answer."""
    frame = visits(seed)
    noise = np.random.default_rng(seed).normal(0, 1, len(frame))
    return frame.assign(buys=np.where(frame["pages"] + noise > 6, "yes", "no"))


TOLD = pytest.mark.parametrize(
    ("task", "table", "feature"),
    [("regression", heating, "temperature"), ("classification", plain_visits, "pages")],
    ids=["regression", "classification"],
)


@TOLD
def test_labels_mixed_up_in_a_quarter_of_the_rows_are_asked_about(task, table, feature):
    """The challenger tells rows apart as the champion does, and wins by being less sure."""
    case, rng = usecase(task), np.random.default_rng(8)
    champion, later = fitted(case, table()), table(seed=1)
    target = case.contract.target.name
    mixed = later[target].to_numpy().copy()
    some = np.flatnonzero(rng.random(len(mixed)) < 0.25)
    mixed[some] = rng.permutation(mixed[some]) if task == "regression" else np.where(mixed[some] == "yes", "no", "yes")
    later = later.assign(**{target: mixed})
    report = judge(case, later, champion)
    (guard,) = [guard for guard in report.guards if guard.name == "labels mixed up"]
    assert (report.verdict in ("hold", "reject"), guard.outcome) == (True, "not_judged")
    assert "less sure" in guard.sentence
    vouched = judge(usecase(task, leaks={"allow": [target]}), later, champion)
    unknown = judge(case, later, FittedModel(champion.pipeline, champion.dummy))
    for unasked in (vouched, unknown):
        assert not any(guard.name == "labels mixed up" for guard in unasked.guards)


@TOLD
def test_a_relation_that_changed_is_no_mixed_up_label(task, table, feature):
    """The champion tells the new target as badly, and the challenger has learned it."""
    case = usecase(task)
    champion, later = fitted(case, table()), table(seed=1)
    moved = np.where(np.arange(len(later)) % 2, later[feature], 2 * later[feature].mean() - later[feature])
    report = judge(case, later.assign(extra=np.arange(len(later)) % 2, **{feature: moved}), champion)
    (guard,) = [guard for guard in report.guards if guard.name == "labels mixed up"]
    assert (report.verdict, guard.outcome) == ("promote", "passed")
    assert "better than its" in guard.sentence


def test_a_target_beside_the_wrong_rows_is_found():
    """Each demand stands one row too late."""
    case = usecase("regression")
    champion = fitted(case, heating())
    report = judge(case, heating(seed=1).assign(demand=lambda f: f["demand"].shift(1).bfill()), champion)
    assert (report.verdict, leaks(report)) == ("reject", ["labels"])
    assert "1 row later" in report.sentence


@pytest.mark.parametrize("policy", ["hold", "as_first"])
@pytest.mark.parametrize("change", ["a column is gone", "numbers became labels", "the labels have other names"])
def test_a_champion_of_another_contract_is_not_compared(change, policy):
    """It has no answers to compare with: that is said, and nothing is promoted unless the policy says so."""
    if change == "the labels have other names":
        champion = fitted(usecase("classification"), visits())
        new = visits(seed=1).assign(buys=lambda f: f["buys"].map({"yes": "sold", "no": "left"}))
        case = usecase("classification", when_not_comparable=policy)
    else:
        champion = fitted(usecase("regression"), heating())
        base = usecase("regression", when_not_comparable=policy).model_dump(mode="json")
        new, columns = heating(seed=1), base["contract"]["columns"]
        if change == "a column is gone":
            new, columns = new.drop(columns="wind"), [column for column in columns if column["name"] != "wind"]
        else:
            new["demand"] = np.where(new["demand"] > 70, "high", "low")
            columns[-1] = {"name": "demand", "type": "category", "role": "target"}
            base |= {key: usecase("classification").model_dump(mode="json")[key] for key in ("training",)}
            base["contract"]["task"] = "classification"
        base["contract"]["columns"] = columns
        case = parse_usecase(base, source="planted")
    report = judge(case, new, champion)
    assert "The champion cannot be compared" in report.sentence
    if policy == "hold":
        assert report.verdict == "hold"
    else:
        assert (report.verdict, report.opponent, report.change_fraction) == ("promote", "dummy", None)
        spoilt = new.assign(**{case.contract.target.name: np.random.default_rng(5).permutation(new.iloc[:, -1])})
        assert judge(case, spoilt, champion).verdict in ("hold", "reject")


def test_a_champion_that_always_says_the_same_is_no_exchange():
    """Its one answer fits whatever label is most frequent now: that tells of the champion, not of the labels."""
    case = usecase("classification")
    rare = visits().assign(buys=lambda f: np.where(np.arange(len(f)) % 20 == 0, f["buys"], "yes"))
    champion = fitted(case, rare.assign(age=40.0))
    often = visits(seed=1).assign(buys=lambda f: np.where(np.arange(len(f)) % 4 == 0, f["buys"], "no"))
    assert "labels" not in leaks(judge(case, often, champion))


def test_a_target_of_the_other_sign_is_not_learned():
    """Demand delivered with its sign turned."""
    case = usecase("regression")
    champion = fitted(case, heating())
    report = judge(case, heating(seed=1).assign(demand=lambda f: -f["demand"]), champion)
    assert (report.verdict, leaks(report)) == ("reject", ["labels"])


@pytest.mark.parametrize(
    ("unit", "factor", "offset", "said"),
    [
        ("", 10.0, 0.0, "ten times too large"),
        ("", 0.001, 0.0, "a thousand times too small"),
        ("°C", 1.8, 32.0, "in Fahrenheit"),
        ("kg", 2.204623, 0.0, "in pounds"),
    ],
)
def test_a_target_in_another_unit_is_not_learned(unit, factor, offset, said):
    """Training rows and held-out ones alike: the challenger beats the champion by far, and only that one knows."""
    given = usecase("regression").model_dump(mode="json")
    given["contract"]["columns"][-1]["unit"] = unit
    case = parse_usecase(given, source="planted")
    champion = fitted(case, heating())
    moved = heating(seed=1).assign(demand=lambda f: f["demand"] * factor + offset)
    report = judge(case, moved, champion)
    assert (report.verdict, leaks(report)) == ("reject", ["labels"])
    assert said in report.sentence
    vouched = usecase("regression", leaks={"allow": ["demand"]})
    assert judge(vouched, moved, champion).verdict == "promote"


@pytest.mark.parametrize("factor", [0.7, 1.5, 3.0])
def test_a_target_that_grew_is_learned(factor):
    """Nobody's unit is that much larger."""
    case = usecase("regression")
    grown = heating(seed=1).assign(demand=lambda f: f["demand"] * factor)
    assert judge(case, grown, fitted(case, heating())).verdict == "promote"


def test_a_champion_that_cannot_be_beaten_stays():
    """The champion answers with the truth itself."""

    class Oracle:
        def predict(self, frame):
            return frame["demand"].to_numpy(dtype=float)

    report = judge(usecase("regression"), heating(), FittedModel(Oracle()))
    assert report.verdict == "reject"
    assert "worse than the champion" in report.sentence


@pytest.mark.parametrize(("task", "table"), [("regression", heating), ("classification", visits)])
@pytest.mark.parametrize("rows", [1, 2, 5, 12, 60, 300])
def test_tiny_tables_hold_or_are_refused(task, table, rows):
    """Few rows end in a refusal that says so, or in hold."""
    try:
        report = judge(usecase(task), table().head(rows))
    except TrainingError as error:
        assert error.expected
    else:
        assert report.verdict == "hold"
        assert report.extra_rows


@pytest.mark.parametrize(("task", "table"), [("regression", heating), ("classification", visits)])
def test_a_constant_target_is_refused(task, table):
    """Nothing to learn."""
    frame = table()
    frame[frame.columns[-1]] = frame.iloc[0, -1]
    with pytest.raises(TrainingError, match="nothing to learn"):
        judge(usecase(task), frame)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_class_seen_once_breaks_nothing(rows):
    """A class of one, two or three rows: in training, held out, or in neither fold."""
    for seed in range(4):
        frame = visits(seed)
        positions = np.random.default_rng(seed).choice(len(frame), rows, replace=False)
        odd = frame.assign(buys=frame["buys"].where(~np.isin(np.arange(len(frame)), positions), "perhaps"))
        assert judge(usecase("classification", minimum_label_rows=1), odd).verdict in ("promote", "hold")


def test_a_class_seen_once_is_asked_about():
    """Learned or held out: the label may be mistyped, and nobody can say what a model knows of it."""
    frame = visits()
    for position in (3, len(frame) - 3):
        odd = frame.assign(buys=frame["buys"].where(np.arange(len(frame)) != position, "perhaps"))
        report = judge(usecase("classification"), odd)
        assert report.verdict == "hold"
        assert "buys is perhaps in 1 of 2,000 rows" in report.sentence


def test_held_out_rows_of_one_class_decide_nothing():
    """To be surer than the dummy of the one class that is there is no merit."""
    frame = visits()
    few = frame[(frame["buys"] == "no") | (np.arange(len(frame)) == frame.index[frame["buys"] == "yes"][0])]
    report = judge(usecase("classification"), few)
    assert report.verdict == "hold"
    assert "held-out rows buys is no" in report.sentence


def test_a_model_that_a_rare_class_has_spoilt_is_not_promoted():
    """Boosting with hardly any rows of a class can go astray at prediction; held-out rows show it."""
    frame = visits(rows=12_000)
    odd = frame.assign(buys=frame["buys"].where(np.arange(len(frame)) != 17, "perhaps"))
    report = judge(usecase("classification", minimum_label_rows=1), odd)
    assert report.verdict in ("hold", "reject")
    assert "dummy" in report.sentence


def test_what_rows_know_is_looked_for_once_for_all_champions() -> None:
    """Found beforehand, leaks are told as if they were found on the way: the report is the same."""
    case = usecase("regression")
    frame = heating()
    frame["extra"] = frame["demand"].shift(-1)
    train, holdout = split_holdout(frame, case)
    model = fitted(case, frame)
    known = leaks_of_rows(case, train, holdout)
    reports = [
        evaluate(model, champion, holdout, case, rng=np.random.default_rng(0), train=train, known_leaks=leaks).to_json()
        for champion in (None, model)
        for leaks in (None, known)
    ]
    assert [guard.name for guard in known if guard.outcome == "failed"] == ["column from the future"]
    assert reports[0] == reports[1]
    assert reports[2] == reports[3]

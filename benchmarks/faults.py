"""The fault suite: the right action for faults, shifts, changed relations and healthy windows of two use cases.

Models of an early part of the year look, through the code of the backtest, at later windows into which one thing was
put. Seeds 0 to 4 were there to choose thresholds by (``python -m benchmarks.faults tune``); the report is of seeds 21
to 25, whose faults nobody looked at before, in windows that no threshold was chosen on.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mlcore.backtest import Models, Trained, look  # the very code, not a copy of it
from mlcore.capture.windows import period_end, period_start
from mlcore.data.ingest import read_source
from mlcore.decision import History, WindowSubject, decide
from mlcore.usecase import UseCase, load_usecase

if TYPE_CHECKING:
    from mlcore.diagnosis import Diagnosis
    from mlcore.policy.monitoring import WindowRule

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "benchmarks" / "reports" / "faults.md"
DATA = {"bikeshare": "hourly.csv", "flights": "flights.parquet"}
#: When the models that look are trained: the second one has seen summer.
TRAINED = {"bikeshare": ("2011-05-01", "2011-09-01"), "flights": ("2013-03-01", "2013-07-01")}
TUNE, REPORTED = range(5), range(21, 26)
#: Windows with something wrong at the source: 6 hours of 27 August, a hurricane, and 7 of 28 August are not there;
#: temperature of 6 September is one value all day.
KNOWN = {("bikeshare", "daily", day) for day in ("2011-08-27", "2011-08-28", "2011-09-06")}
ACTIONS = ("fix_data", "retrain", "watch", "nothing", "wait")


@dataclass(frozen=True)
class Setting:
    """One use case with its past, its models and the windows they had not seen."""

    usecase: UseCase
    frame: pd.DataFrame
    models: dict[datetime, Trained]

    @property
    def time(self) -> str:
        assert self.usecase.contract.time is not None
        return self.usecase.contract.time.name

    def windows(self, rule: WindowRule, since: datetime) -> list[datetime]:
        """Return the starts of the windows with enough rows."""
        days = self.frame[self.time].dt.floor("D").value_counts()
        rows: Counter[datetime] = Counter()
        for day, count in days.items():
            rows[period_start(day.to_pydatetime(), rule.period)] += int(count)
        return sorted(start for start, count in rows.items() if start >= since and count >= rule.minimum_rows)

    def rows(self, rule: WindowRule, start: datetime, *, hours_late: int = 0) -> pd.DataFrame:
        """Return a window; with a clock that is late by some hours, what falls into it then."""
        times, late = self.frame[self.time], pd.Timedelta(hours=hours_late)
        first, last = times.searchsorted([start + late, period_end(start, rule.period) + late])
        rows = self.frame.iloc[first:last].reset_index(drop=True)
        return rows.assign(**{self.time: rows[self.time] - late})

    def before(self, rule: WindowRule, start: datetime) -> pd.DataFrame:
        """Return the window before."""
        return self.rows(rule, period_start(start - timedelta(hours=1), rule.period))


@dataclass(frozen=True)
class Place:
    """Where something is put: a window of a setting, with chance of its own."""

    setting: Setting
    rule: WindowRule
    start: datetime
    rng: np.random.Generator

    @property
    def rows(self) -> pd.DataFrame:
        return self.setting.rows(self.rule, self.start)

    @property
    def bikeshare(self) -> bool:
        return self.setting.usecase.name == "bikeshare"

    def choose(self, *names: object) -> object:
        return names[int(self.rng.integers(len(names)))]


@dataclass(frozen=True)
class Spoilt:
    """A window with a fault, and the columns (or the time column) it is in."""

    rows: pd.DataFrame
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """A window to judge: what was put into it, seen by the model of a moment."""

    place: Place
    moment: datetime
    kind: str
    name: str
    rows: pd.DataFrame
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    usecase: str
    cadence: str
    kind: str
    name: str
    start: datetime
    expected: tuple[str, ...]
    action: str
    cause: str
    sentence: str
    columns: tuple[str, ...]
    named: bool

    @property
    def right(self) -> bool:
        return self.action in self.expected


# --- faults: each is a pure function of its place ------------------------------------------------------------------


def wrong_unit(place: Place) -> Spoilt:
    """Another unit; half of them stay within the contract's range."""
    rows = place.rows
    if not place.bikeshare:
        factor = place.choose(1.609344, 0.868976)
        return Spoilt(rows.assign(distance=(rows["distance"] * factor).round(int(place.choose(0, 1)))), ("distance",))
    name = str(place.choose("temperature", "feels_like", "wind_speed"))
    if name == "wind_speed":
        factor = place.choose(0.621371, 1 / 3.6, 0.539957)
        return Spoilt(rows.assign(wind_speed=(rows[name] * factor).round(1)), (name,))
    kelvin = place.rng.random() < 0.25
    values = rows[name] + 273.15 if kelvin else rows[name] * 1.8 + 32
    return Spoilt(rows.assign(**{name: values.round(1)}), (name,))


def winter_fahrenheit(place: Place) -> Spoilt:
    """A unit that the contract's range does not betray: Fahrenheit on cold days, miles per hour, kilometres."""
    rows = place.rows
    if not place.bikeshare:
        return Spoilt(rows.assign(distance=rows["distance"] * 1.609344)[rows["distance"] < 3000], ("distance",))
    for name in ("temperature", "feels_like") if place.rng.random() < 0.5 else ("feels_like", "temperature"):
        values = rows[name] * 1.8 + 32
        if values.max() <= 45 and values.min() >= -30:
            return Spoilt(rows.assign(**{name: values}), (name,))
    return Spoilt(rows.assign(wind_speed=rows["wind_speed"] * 0.621371), ("wind_speed",))


def wrong_scale(place: Place) -> Spoilt:
    """A decimal point in the wrong place."""
    rows = place.rows
    name = str(place.choose("temperature", "humidity", "wind_speed") if place.bikeshare else "distance")
    return Spoilt(rows.assign(**{name: rows[name] * place.choose(10.0, 0.1)}), (name,))


def fraction(place: Place) -> Spoilt:
    """A fraction, not percent; thousands of miles, not miles."""
    rows = place.rows
    name, factor = ("humidity", 0.01) if place.bikeshare else ("distance", 0.001)
    return Spoilt(rows.assign(**{name: rows[name] * factor}), (name,))


def _numbers(place: Place) -> str:
    names = (
        ("temperature", "feels_like", "humidity", "wind_speed")
        if place.bikeshare
        else ("distance", "departure_hour", "arrival_hour", "departures_in_hour")
    )
    return str(place.choose(*names))


def stuck_all_window(place: Place) -> Spoilt:
    rows, name = place.rows, _numbers(place)
    moving = rows[name][rows[name] > 0]
    return Spoilt(rows.assign(**{name: moving.iloc[int(place.rng.integers(len(moving)))]}), (name,))


def stuck_part_of_window(place: Place) -> Spoilt:
    """Half of the window keeps the value that the half began with."""
    rows, name = place.rows, _numbers(place)
    first = int(place.rng.integers(len(rows) // 2))
    rows.loc[first : first + len(rows) // 2, name] = rows[name].iloc[first]
    return Spoilt(rows, (name,))


def missing_burst(place: Place) -> Spoilt:
    rows, name = place.rows, _numbers(place)
    first = int(place.rng.integers(len(rows) * 7 // 10))
    rows[name] = rows[name].astype(float)
    rows.loc[first : first + len(rows) * 3 // 10, name] = np.nan
    return Spoilt(rows, (name,))


def missing_hours(place: Place) -> Spoilt:
    """Six hours of every day are not there."""
    rows = place.rows
    hours = rows[place.setting.time].dt.hour
    first = int(place.rng.integers(13, 18))
    return Spoilt(rows[~hours.between(first, first + 5)].reset_index(drop=True), (place.setting.time,))


def doubled_hours(place: Place) -> Spoilt:
    """A quarter of the window was delivered twice."""
    rows = place.rows
    first = int(place.rng.integers(len(rows) * 3 // 4))
    again = rows.iloc[first : first + len(rows) // 4]
    both = pd.concat([rows, again]).sort_values(place.setting.time, kind="stable", ignore_index=True)
    return Spoilt(both, (place.setting.time, *(column.name for column in place.setting.usecase.contract.keys)))


def shifted_clock(place: Place) -> Spoilt:
    """Time stamps of another time zone: the window holds what happened some hours earlier or later."""
    hours = int(place.choose(-8, -5, -4, -3, 3, 5, 6, 9))
    rows = place.setting.rows(place.rule, place.start, hours_late=-hours)
    return Spoilt(rows, (place.setting.time,))


def clipped_range(place: Place) -> Spoilt:
    """A sensor that cannot say more, or less, than three quarters of the window's values."""
    rows, name = place.rows, _numbers(place)
    while rows[name].std() == 0:
        name = _numbers(place)
    if place.rng.random() < 0.5:
        return Spoilt(
            rows.assign(**{name: rows[name].clip(upper=rows[name].quantile(0.65, interpolation="lower"))}), (name,)
        )
    return Spoilt(
        rows.assign(**{name: rows[name].clip(lower=rows[name].quantile(0.35, interpolation="higher"))}), (name,)
    )


def swapped_columns(place: Place) -> Spoilt:
    rows = place.rows
    pairs = (
        [
            ("temperature", "feels_like"),
            ("temperature", "humidity"),
            ("humidity", "wind_speed"),
            ("feels_like", "wind_speed"),
        ]
        if place.bikeshare
        else [("departure_hour", "arrival_hour"), ("origin", "destination"), ("arrival_hour", "departures_in_hour")]
    )
    one, other = pairs[int(place.rng.integers(len(pairs)))]
    return Spoilt(rows.assign(**{one: rows[other], other: rows[one]}), (one, other))


def renamed_category(place: Place) -> Spoilt:
    rows = place.rows
    name = "weather" if place.bikeshare else str(place.choose("carrier", "origin"))
    old = rows[name].value_counts().index[int(place.rng.integers(2)) % rows[name].nunique()]
    new = str(place.choose(old.upper() + "_1", f" {old} ", old.title() + "."))
    return Spoilt(rows.assign(**{name: rows[name].replace({old: new})}), (name,))


def new_category(place: Place) -> Spoilt:
    rows = place.rows
    name = "weather" if place.bikeshare else str(place.choose("carrier", "origin", "destination"))
    rows.loc[place.rng.random(len(rows)) < 0.2, name] = "fog" if place.bikeshare else "QQ"
    return Spoilt(rows, (name,))


def mojibake(place: Place) -> Spoilt:
    """Text read with the wrong encoding, in a tenth of the rows or more."""
    rows = place.rows
    name = "weather" if place.bikeshare else str(place.choose("carrier", "origin", "destination"))
    garble: Sequence[Callable[[str], str]] = (
        lambda text: text.encode("utf-16-le").decode("latin-1"),
        lambda text: "\ufeff".encode().decode("latin-1") + text,
        lambda text: text[:1] + "\ufffd" + text[2:],
        lambda text: "é".encode().decode("latin-1") + text,
    )
    chosen = garble[int(place.rng.integers(len(garble)))]
    hit = place.rng.random(len(rows)) < 0.3
    rows.loc[hit, name] = rows.loc[hit, name].map(chosen)
    return Spoilt(rows, (name,))


def placeholder(place: Place) -> Spoilt:
    """A number that means 'no value': -999, or a zero that the contract allows."""
    rows, name = place.rows, _numbers(place)
    value = -999.0
    if place.rng.random() < 0.5:
        name, value = ("humidity", 0.0) if place.bikeshare else ("departure_hour", 0)
    rows.loc[place.rng.random(len(rows)) < 0.25, name] = value
    return Spoilt(rows, (name,))


FAULTS: Sequence[Callable[[Place], Spoilt]] = (
    wrong_unit, winter_fahrenheit, wrong_scale, fraction, stuck_all_window, stuck_part_of_window, missing_burst,
    missing_hours, doubled_hours, shifted_clock, clipped_range, swapped_columns, renamed_category, new_category,
    mojibake, placeholder,
)  # fmt: skip


# --- what is no fault ----------------------------------------------------------------------------------------------


def milder_weather(place: Place) -> pd.DataFrame:
    """The world moves, and every column that tells of it: 12 degrees warmer; flights a tenth longer."""
    rows = place.rows
    if place.bikeshare:
        up = 12.0 if rows["temperature"].max() < 25 else -12.0
        return rows.assign(temperature=rows["temperature"] + up, feels_like=rows["feels_like"] + up)
    keep = place.rng.random(len(rows)) < np.where(rows["distance"] > 1000, 0.9, 0.35)
    return rows[keep].reset_index(drop=True)


def windier_days(place: Place) -> pd.DataFrame:
    """A part of the world that the model hardly looks at: wind; fewer flights of one airport."""
    rows = place.rows
    if place.bikeshare:
        return rows.assign(wind_speed=rows["wind_speed"] + 9.0)
    keep = (rows["origin"] != place.choose("JFK", "LGA", "EWR")) | (place.rng.random(len(rows)) < 0.3)
    return rows[keep].reset_index(drop=True)


def other_days(place: Place) -> pd.DataFrame:
    """Some days only: those of the week's second half, as when a business opens less often."""
    rows = place.rows
    kept = rows[rows[place.setting.time].dt.weekday >= 3].reset_index(drop=True)
    return kept if len(kept) >= place.rule.minimum_rows else rows


def changed_relation(place: Place) -> pd.DataFrame:
    """What is predicted follows the same inputs differently."""
    rows = place.rows
    if place.bikeshare:
        return rows.assign(bikers=(rows["bikers"] * place.choose(0.4, 2.5)).round().astype("int64"))
    flip = place.rng.random(len(rows)) < 0.35
    return rows.assign(delayed=rows["delayed"] ^ flip)


def too_few_rows(place: Place) -> pd.DataFrame:
    rows = place.rows
    return rows.iloc[: min(8, len(rows))].reset_index(drop=True)


NO_FAULTS: Sequence[Callable[[Place], pd.DataFrame]] = (
    milder_weather, windier_days, other_days, changed_relation, too_few_rows,
)  # fmt: skip


# --- running -------------------------------------------------------------------------------------------------------


def run(seeds: Sequence[int] = REPORTED, *, write: bool = True) -> list[Outcome]:
    """Print the confusion matrix and what went wrong; write the report."""
    outcomes: list[Outcome] = []
    for name in DATA:
        outcomes += map(judge, cases(load_setting(name), seeds))
    text = _report(outcomes)
    print(text)
    if write:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(text, encoding="utf-8")
    return outcomes


def cases(setting: Setting, seeds: Sequence[int] = REPORTED) -> Iterator[Case]:
    """Yield everything that is judged of one use case."""
    for seed in seeds:
        yield from _faulty(setting, seed)
        yield from _sound(setting, seed)
    yield from _healthy(setting, odd=bool(seeds[0] % 2))


def load_setting(name: str) -> Setting:
    """Return a use case whose models are trained."""
    usecase = load_usecase(ROOT / "usecases" / name)
    frame = read_source(str(ROOT / "usecases" / name / "data" / DATA[name]), usecase.contract).to_pandas()
    # the search is another benchmark's subject: its first candidate will do
    search = usecase.training.search.model_copy(update={"trials": 1})
    training = usecase.training.model_copy(update={"search": search, "candidates": usecase.training.candidates[:1]})
    models = Models(frame, usecase.model_copy(update={"training": training}), seed=0)
    moments = [pd.Timestamp(day, tz="UTC").to_pydatetime() for day in TRAINED[name]]
    return Setting(usecase, frame, {moment: models.at(moment) for moment in moments})


def _places(setting: Setting, seed: int, kind: int) -> Iterator[tuple[Place, datetime]]:
    """Yield a window of each cadence; the windows of seeds 0 to 4 and of the others have none in common."""
    moments = sorted(setting.models)
    for number, rule in enumerate(setting.usecase.monitoring.windows):
        rng = np.random.default_rng([seed, kind, number])
        moment = moments[int(rng.integers(len(moments)))]
        mine = setting.windows(rule, moment)[int(seed in REPORTED) :: 2]
        yield Place(setting, rule, mine[int(rng.integers(len(mine)))], rng), moment


def _faulty(setting: Setting, seed: int) -> Iterator[Case]:
    for kind, fault in enumerate(FAULTS):
        for place, moment in _places(setting, seed, kind):
            spoilt = fault(place)
            yield Case(place, moment, "fault", fault.__name__, spoilt.rows, spoilt.columns)


def _sound(setting: Setting, seed: int) -> Iterator[Case]:
    for kind, change in enumerate(NO_FAULTS, start=len(FAULTS)):
        for place, moment in _places(setting, seed, kind):
            name = change.__name__
            yield Case(place, moment, "too little" if change is too_few_rows else "sound", name, change(place), ())


def _healthy(setting: Setting, *, odd: bool) -> Iterator[Case]:
    """Yield every second window as it is, seen by each model."""
    for rule in setting.usecase.monitoring.windows:
        for moment in setting.models:
            for start in setting.windows(rule, moment)[int(odd) :: 2]:
                place = Place(setting, rule, start, np.random.default_rng(0))
                known = (setting.usecase.name, rule.name, f"{start:%Y-%m-%d}") in KNOWN
                kind = "fault at the source" if known else "sound"
                yield Case(place, moment, kind, "as it was", place.rows, ())


def judge(case: Case) -> Outcome:
    """Diagnose a window and decide, as the loop does."""
    place, moment, kind, rows, columns = case.place, case.moment, case.kind, case.rows, case.columns
    setting, rule = place.setting, place.rule
    recent = setting.before(rule, place.start)
    diagnosis, _ = look(rows, rows, setting.models[moment], setting.usecase, rule, recent)
    end = period_end(place.start, rule.period)
    times = setting.frame[setting.time]
    new_rows = int(((times >= moment) & (times < end)).sum())
    action = decide(
        WindowSubject(diagnosis, new_rows), History(has_champion=True), setting.usecase.retraining, end
    ).action
    named = {feature.name for feature in diagnosis.features}
    right_name = set(columns) <= named if case.name == "swapped_columns" else bool(named & set(columns))
    enough = new_rows >= setting.usecase.retraining.minimum_new_rows
    expected = {"fault": ("fix_data",), "fault at the source": ("fix_data",), "too little": ("wait",)}.get(
        kind, _sound_actions(diagnosis, enough=enough)
    )
    return Outcome(
        setting.usecase.name, rule.name, kind, case.name, place.start, expected, action, diagnosis.cause,
        diagnosis.sentence, columns, right_name,
    )  # fmt: skip


def _sound_actions(diagnosis: Diagnosis, *, enough: bool) -> tuple[str, ...]:
    """Return what is right for data without fault: measured harm asks for a retraining, nothing else does."""
    performance = diagnosis.evidence["performance"]
    if performance is None:
        return ("nothing", "watch")
    if performance["outcome"] == "harmed" and not enough:
        return ("wait",)
    return ("retrain",) if performance["outcome"] == "harmed" else ("nothing", "watch")


def _report(outcomes: list[Outcome]) -> str:
    right = sum(item.right for item in outcomes)
    faults = [item for item in outcomes if item.kind == "fault"]
    sound = [item for item in outcomes if item.kind == "sound"]
    lines = [
        "# Fault suite",
        "",
        f"Right action in {right} of {len(outcomes)} windows ({right / len(outcomes):.1%}); faults alone "
        f"{sum(item.right for item in faults)} of {len(faults)} ({np.mean([item.right for item in faults]):.1%}), "
        f"the faulty column named in {np.mean([item.named for item in faults]):.1%} of them; "
        f"data faults retrained: {sum(item.action == 'retrain' for item in faults)}; "
        f"sound windows called faulty: {sum(item.action == 'fix_data' for item in sound)} of {len(sound)}.",
        "",
        "## What was right, and what was done",
        "",
        "| what it was | " + " | ".join(ACTIONS) + " |",
        "|---|" + "---:|" * len(ACTIONS),
    ]
    matrix = Counter((truth(item), item.action) for item in outcomes)
    for what in ("data fault", "harm", "no harm", "too little data"):
        lines.append(f"| {what} | " + " | ".join(str(matrix[what, action]) for action in ACTIONS) + " |")
    lines += ["", "## By kind", "", "| kind | windows | right action | column named |", "|---|---:|---:|---:|"]
    for kind in dict.fromkeys((item.usecase, item.name) for item in outcomes):
        items = [item for item in outcomes if (item.usecase, item.name) == kind]
        named = f"{sum(item.named for item in items)}" if items[0].kind == "fault" else ""
        lines.append(
            f"| {kind[0]}: {kind[1].replace('_', ' ')} | {len(items)} | {sum(i.right for i in items)} | {named} |"
        )
    lines += ["", "## Wrong", ""]
    for item in outcomes:
        if not item.right:
            where = f" in {', '.join(item.columns)}" if item.columns else ""
            lines.append(
                f"- {item.usecase} {item.cadence} {item.start:%Y-%m-%d}, {item.name.replace('_', ' ')}{where}: "
                f"{item.action}, not {' or '.join(item.expected)}. {item.sentence}"
            )
    return "\n".join(lines) + "\n"


def truth(item: Outcome) -> str:
    """Return what a window was: what is right follows from it."""
    if item.kind != "sound":
        return "too little data" if item.kind == "too little" else "data fault"
    return "harm" if item.expected in (("retrain",), ("wait",)) else "no harm"


if __name__ == "__main__":
    tuning = sys.argv[1:] == ["tune"]
    run(TUNE if tuning else REPORTED, write=not tuning)

"""The pages of a loop, a window and an evaluation say what was found, quickly and offline."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlcore.backtest import BacktestResult, StrategySummary, WindowResult
from mlcore.contract import Column, DataContract
from mlcore.decision import Decision
from mlcore.diagnosis import Diagnosis, FeatureDiagnosis
from mlcore.drift import build_baseline, detect_drift
from mlcore.performance import Performance
from mlcore.policy.monitoring import DriftPolicy
from mlcore.quality.report import QualityCheck, QualityReport
from mlcore.report.backtest import write_backtest_page
from mlcore.report.charts import Bar, Mark, Point, Span
from mlcore.report.distributions import distributions
from mlcore.report.evaluation import EvaluationFacts, candidate_scores, evaluation_page, write_evaluation_page
from mlcore.report.loop import ApprovalLine, DecisionLine, LoopFacts, TraceLine, loop_page
from mlcore.report.window import EarlierDrift, WindowFacts, add_decision, window_page, write_window_page
from mlcore.validation import EvaluationReport
from mlcore.validation.bootstrap import Interval
from mlcore.validation.report import GuardResult, MetricResult, SliceResult, WorstRow

DAY = datetime(2011, 4, 1, tzinfo=UTC)
MEGABYTE = 1_000_000


def _loop() -> LoopFacts:
    decisions = [DecisionLine(DAY, f"window:day{number}", "nothing", "Nothing is wrong.") for number in range(61)]
    return LoopFacts(
        title="Bikes <b>",
        lead="35% better.",
        figures=[("83.9", "before"), ("54.2", "after")],
        spans=[Span("retrain", "r", DAY, DAY + timedelta(seconds=9), "drift") for _ in range(40)],
        errors=[Point(f"version {v}", DAY + timedelta(days=d), 40.0 + d % 7) for v in (1, 2) for d in range(120)],
        metric="mean_absolute_error",
        marks=[Mark(DAY, "retrained")],
        drift=[Bar(month, name, 0.3) for month in ("March", "April") for name in ("temperature", "humidity")],
        drift_threshold=0.2,
        decisions=[*decisions, DecisionLine(DAY, "window:month", "retrain", "The model is harmed.")],
        ignored=[("same cause", 199)],
        quarantined=[("broken.csv", "temperature: 40% missing")],
        trace_id="row-1",
        trace=[TraceLine("model", DAY, "version 1")],
        unit="rentals/h",
        approvals=[ApprovalLine(2, "granted", "owner@example.org", "A new season.")],
        fault="Temperatures in Fahrenheit.",
        storm="One retraining for 200 events.",
    )


def test_loop_page_tells_the_whole_story():
    """Everything that happened is on the page, escaped, and small."""
    text = loop_page(_loop())
    for told in ("35% better", "The model is harmed.", "Fahrenheit", "200 events", "A new season.", "40% missing"):
        assert told in text
    assert "mean absolute error (rentals/h)" in text
    assert "<b>" not in text.partition("<body>")[2].partition("</h1>")[0]
    assert len(text) < 1.5 * MEGABYTE


def test_decisions_that_say_the_same_are_one_row():
    """Sixty-one quiet days take one line, and the one that mattered is seen."""
    text = loop_page(_loop())
    assert "window:day0 to window:day60 (61 decisions)" in text
    assert text.count("Nothing is wrong.") == 1


def test_loop_page_of_an_empty_loop():
    """A loop that has only begun has a page that says so."""
    empty = replace(
        _loop(), spans=[], errors=[], marks=[], drift=[], decisions=[], ignored=[], quarantined=[], trace=[]
    )
    assert "Nothing was decided." in loop_page(empty)


@pytest.fixture(scope="module")
def wide() -> WindowFacts:
    """A window of 100,000 rows and 20 features, of which five have moved."""
    rng = np.random.default_rng(0)
    names = [f"feature_{number}" for number in range(20)]
    contract = DataContract(
        task="regression",
        columns=(
            *(Column(name=name, type="number" if number % 4 else "category") for number, name in enumerate(names)),
            Column(name="target", type="number", role="target"),
        ),
    )

    def rows(count: int, shift: float) -> pd.DataFrame:
        columns = {}
        for number, name in enumerate(names):
            moved = shift if number < 5 else 0.0
            numbers = rng.normal(moved, 1, count)
            columns[name] = numbers if number % 4 else np.where(numbers > 0, "yes", "no")
        return pd.DataFrame({**columns, "target": rng.normal(size=count)})

    baseline = build_baseline(rows(20_000, 0.0), rng.normal(size=20_000), contract)
    window = rows(100_000, 1.0)
    predictions = rng.normal(size=len(window))
    drift = detect_drift(baseline, window, predictions, contract, DriftPolicy(), minimum_rows=30)
    return WindowFacts(
        title="Wide",
        window_id="wide/monthly/2011-04-01T00",
        starts_at=DAY,
        ends_at=DAY + timedelta(days=30),
        model_version=3,
        rows=len(window),
        labelled=len(window) // 2,
        diagnosis=Diagnosis(
            "harmful_shift",
            "feature_0 moved.",
            tuple(FeatureDiagnosis(item.name, "shift", item.sentence, item.psi) for item in drift.drifted),
            {},
        ),
        decision=Decision("retrain", "The window is harmed.", "An error back in its limits.", {}),
        quality=QualityReport(5, (QualityCheck("feature_1", "between", False, "0 to 1", "3 others", 3, 0.6, ("7",)),)),
        drift=drift,
        performance=Performance("harmed", "mean_absolute_error", 52.6, 19.9, 1.64, len(window), len(window) // 2),
        drift_threshold=0.2,
        distributions=distributions(baseline, window.assign(prediction=predictions), contract, [*names, "prediction"]),
        importance={"feature_0": 0.7, "feature_9": 0.25, "feature_1": 0.05},
        earlier=[
            EarlierDrift(DAY - timedelta(days=30 * ago), "harmless_shift", dict.fromkeys(names[:8], 0.1 / ago))
            for ago in (2, 1)
        ],
    )


def test_window_page_is_small_and_quick(wide: WindowFacts):
    """100,000 rows of 20 features: under 1.5 MB and 3 s of processor time, all imports done."""
    window_page(replace(wide, distributions=wide.distributions[:1]))
    began = time.process_time()
    text = window_page(wide)
    assert time.process_time() - began < 3
    assert len(text.encode()) < 1.5 * MEGABYTE


def test_window_page_says_what_moved_and_what_was_decided(wide: WindowFacts):
    """Cause, decision, what would have changed it, each feature that moved, and the failed check."""
    text = window_page(wide)
    assert {item.name for item in wide.drift.drifted} == {f"feature_{number}" for number in range(5)}
    for told in ("The world has moved, and it harms", "Decision: retrain", "An error back in its limits.", "3 others"):
        assert told in text
    assert "52.6" in text
    assert text.count("<figure>") == 2 + 12


def test_window_page_ranks_by_what_matters_and_draws_the_past(wide: WindowFacts):
    """A column that decides the answer comes before one that moved further; earlier windows are a picture."""
    text = window_page(wide)
    ranking = text.partition("What matters to the model")[2].partition("Side by side")[0]
    assert ranking.index("feature_0") < ranking.index("feature_1") < ranking.index("feature_9")
    assert "feature_2" not in ranking
    assert "This window and the 2 before it" in text
    assert "Drift over time" not in window_page(replace(wide, earlier=(), importance={}))
    assert "&lt;1e-16" in text


def test_what_is_decided_later_comes_into_the_page(wide: WindowFacts, tmp_path: Path):
    """The page says that nothing was decided, until it was; the first word stands, and no page is no harm."""
    path = write_window_page(replace(wide, decision=None), tmp_path / "window.html")
    assert "None was taken yet" in path.read_text()
    for action in ("fix_data", "nothing"):
        add_decision(path, action, "Humidity <0 & stuck.", "Sound data.")
    text = path.read_text()
    assert "Decision: fix data" in text and "Humidity &lt;0 &amp; stuck." in text and "Sound data." in text
    assert "None was taken yet" not in text and "Decision: nothing" not in text
    add_decision(tmp_path / "none.html", "watch", "", "")
    assert [item.name for item in tmp_path.iterdir()] == ["window.html"]


def test_window_page_of_too_little_data(wide: WindowFacts):
    """Too few rows is said, and nothing is drawn from them."""
    text = window_page(
        replace(
            wide,
            diagnosis=Diagnosis("too_little_data", "3 rows.", (), {}),
            drift=replace(wide.drift, outcome="too_little_data", columns=()),
            decision=None,
            quality=None,
            performance=None,
            distributions=(),
            rows=0,
            labelled=0,
        )
    )
    assert "too few to compare" in text
    assert "<svg" not in text


def test_distributions_are_shares_of_all_rows(wide: WindowFacts):
    """Each histogram holds every row once, in training and in the window."""
    for item in wide.distributions:
        assert sum(item.before) == pytest.approx(1)
        assert sum(item.now) == pytest.approx(1)
        assert len(item.before) == len(item.now) == (len(item.labels) or len(item.edges) - 1)


def test_constant_and_missing_columns_have_a_histogram():
    """A column of one value, and a window with none, can still be drawn."""
    contract = DataContract(
        task="regression",
        columns=(Column(name="a", type="number"), Column(name="target", type="number", role="target")),
    )
    baseline = build_baseline(pd.DataFrame({"a": [2.0] * 5, "target": 0.0}), np.zeros(5), contract)
    stuck, empty = (
        distributions(baseline, pd.DataFrame({"a": values}), contract, ["a"])[0]
        for values in ([2.0, 2.0], [float("nan")] * 2)
    )
    assert (stuck.before, stuck.now) == ((1.0,), (1.0,))
    assert empty.now == (0.0,)


def _report(verdict: str = "reject") -> EvaluationReport:
    slices = (
        SliceResult("workingday", "True", 300, 40.0, 30.0, Interval(10.0, 4.0, 16.0), 0.004),
        SliceResult("workingday", "False", 12, None, None, None, None),
    )
    return EvaluationReport(
        verdict=verdict,  # type: ignore[arg-type]
        sentence="Not promoted: slice workingday = True.",
        reasons=("slice workingday = True: 40 against 30", "limit r2: 0.1"),
        opponent="champion",
        metric="mean_absolute_error",
        confidence=0.95,
        rows=421,
        units=18,
        metrics=(
            MetricResult(
                "mean_absolute_error", False, Interval(46, 40, 50), Interval(68, 60, 70), Interval(-21, -28, -14)
            ),
        ),
        guards=(
            GuardResult("bad_rows", "missing", "passed", "answered"),
            GuardResult("limit", "r2", "failed", "r2 is 0.1, at least 0.3 is asked for", 0.1, 0.3),
        ),
        slices=slices,
        worst_rows=(
            WorstRow({"recorded_at": "2011-04-27T17:00:00+00:00", "temperature": 23.0}, 521, 218.44444, 159.7, 302.6),
            WorstRow({"recorded_at": "2011-04-26 08:00:00+00:00", "temperature": 21.0}, 400, 218.1, 159.7, 181.9),
        ),
        extra_rows=1200,
    )


FACTS = EvaluationFacts("Bikes", 2, 1, "poisson", "sha256:abc", 2, "drift", "rentals/h")


def test_evaluation_page_explains_a_refusal():
    """Every reason, the failed guard first, the interval of the slice, and the worst row."""
    text = evaluation_page(_report(), FACTS)
    for told in (
        "limit r2: 0.1",
        "too few rows",
        "218.4",
        "2011-04-27 17:00<",
        "2011-04-26 08:00<",
        "1,200 more",
        "sha256:abc",
        "intervals cover 90%",
    ):
        assert told in text
    guards = text.partition("<h2>Guards</h2>")[2]
    assert guards.index("limit: r2") < guards.index("bad rows: missing")
    assert "workingday = True" in text.partition("<svg")[2].partition("</svg>")[0]


def test_evaluation_page_survives_the_ledger(tmp_path: Path):
    """A report read back from the ledger gives the page of the report that was written."""
    report = _report()
    again = EvaluationReport.from_json(report.to_json())
    assert evaluation_page(again, FACTS) == evaluation_page(report, FACTS)
    assert write_evaluation_page(again, FACTS, tmp_path / "e.html").read_text() == evaluation_page(report, FACTS)


def test_evaluation_page_without_an_interval():
    """Too few rows to judge: no picture, and the reason."""
    sentence = "40 held-out rows are too few to judge; 100 are asked for."
    report = EvaluationReport("hold", sentence, (sentence,), "dummy", "r2", 0.95, 40, 0, extra_rows=60)
    text = evaluation_page(report, replace(FACTS, champion_version=None))
    assert sentence in text
    assert "<svg" not in text


def test_candidates_are_compared_on_as_many_folds():
    """A trial that met more folds stands for its candidate; one that was stopped says so."""
    trials = [
        {"candidate": "forest", "validation": [5.0], "train": [1.0], "mean_validation": 5.0},
        {"candidate": "ridge", "validation": [7.0, 9.0], "train": [6.0, 6.0], "mean_validation": 8.0},
        {"candidate": "ridge", "validation": [6.0], "train": [5.0], "mean_validation": 6.0},
        {"candidate": "broken", "validation": [], "train": [], "mean_validation": None},
    ]
    forest, ridge = candidate_scores(trials, chosen="ridge", higher_is_better=False, holdout=9.5)
    assert forest.name == "forest (stopped after 1 of 2 folds)"
    assert (ridge.train, ridge.validation, ridge.holdout, ridge.chosen) == (6.0, 8.0, 9.5, True)


def test_backtest_page_compares_strategies(tmp_path: Path):
    """Each strategy has its line and its row, and each decision of the policy is listed."""
    windows = tuple(
        WindowResult(name, DAY + timedelta(days=30 * month), 700, 20.0 + month, "harmful_shift", "retrain")
        for name in ("static", "always", "any_drift", "policy")
        for month in range(6)
    )
    summaries = tuple(
        StrategySummary(name, error, retrainings, 5)
        for name, error, retrainings in (
            ("static", 90.0, 0),
            ("always", 50.0, 6),
            ("any_drift", 51.0, 5),
            ("policy", 54.0, 2),
        )
    )
    result = BacktestResult("bikeshare", "mean_absolute_error", windows, summaries)
    text = write_backtest_page(result, tmp_path / "backtest.html").read_text()
    assert result.sentence in text
    assert {name for name in ("static", "always", "any_drift", "policy") if f">{name}</text>" in text} == {
        "static",
        "always",
        "any_drift",
        "policy",
    }
    assert text.count("harmful_shift") == 6

"""Whole rows: what single columns do not show is found and named, and nothing is found where nothing is."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from mlcore.contract import Column, DataContract
from mlcore.drift import Baseline, DriftReport, build_baseline, detect_drift, model_baseline
from mlcore.drift.encoding import Encoding
from mlcore.drift.multivariate import Rows, detector_named, domain_classifier
from mlcore.errors import DriftError
from mlcore.metrics import Output
from mlcore.policy.monitoring import DriftPolicy
from tests.support import churn_rows

POLICY = DriftPolicy()
NAMES = ("a", "b", "c", "d")


def _rows(seed: int, count: int = 1_500, blocks: np.ndarray | None = None) -> Rows:
    return Rows(NAMES, np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32), blocks)


def _related(rows: Rows) -> Rows:
    values = rows.values.copy()
    values[:, 1] = 0.8 * values[:, 0] + 0.6 * values[:, 1]
    return Rows(rows.names, values, rows.blocks)


def test_a_changed_relation_is_found_and_its_columns_named():
    """Each column alone is as before: no test of columns can see it."""
    found = domain_classifier(_rows(0), _related(_rows(1)), POLICY)
    assert found.outcome == "drift"
    assert {name for name, _ in found.columns} == {"a", "b"}
    assert "a" in found.sentence


def test_rows_of_one_kind_are_rarely_told_apart():
    """At a nominal 5 % of windows of unequal sizes at most that many, but for chance."""
    lenient = DriftPolicy(false_discovery_rate=0.05, minimum_effect=0.0)
    found = [domain_classifier(_rows(2 * seed, 600), _rows(2 * seed + 1, 200), lenient) for seed in range(25)]
    assert sum(item.outcome == "drift" for item in found) <= 5
    assert 0.45 < np.mean([item.statistic for item in found]) < 0.55


def test_days_that_are_alike_within_are_no_drift():
    """Each day has a level of its own: as independent rows they are told apart, as days they are not."""

    def days(seed: int, count: int) -> Rows:
        rng = np.random.default_rng(seed)
        blocks = np.repeat(np.arange(count), 24)
        return Rows(NAMES, (rng.normal(size=(count, 4))[blocks] + 0.2).astype(np.float32), blocks)

    alarms = {"days": 0, "rows": 0}
    for seed in range(8):
        before, now = days(2 * seed, 60), days(2 * seed + 1, 12)
        alarms["days"] += domain_classifier(before, now, POLICY).outcome == "drift"
        as_rows = [Rows(NAMES, item.values) for item in (before, now)]
        alarms["rows"] += domain_classifier(*as_rows, POLICY).outcome == "drift"
    assert alarms["days"] <= 1
    assert alarms["rows"] == 8


def test_too_few_days_are_too_little_data():
    """Three days are never a verdict, however many rows they have."""
    found = domain_classifier(_rows(0), _rows(1, 300, np.repeat(np.arange(3), 100)), POLICY)
    assert (found.outcome, found.p_value) == ("too_little_data", None)
    assert "too few" in found.sentence


def test_the_order_of_rows_changes_nothing():
    """The same rows get the same answer."""
    window = _related(_rows(1, 500))
    order = np.random.default_rng(5).permutation(500)
    assert domain_classifier(_rows(0), window, POLICY) == domain_classifier(_rows(0), window.take(order), POLICY)


def test_odd_values_are_compared_as_well():
    """Missing, infinite and constant columns, and categories that are new."""
    rows = pd.DataFrame(
        {
            "gone": [np.nan] * 400,
            "endless": np.where(np.arange(400) % 2, np.inf, 1.0),
            "same": 1,
            "kind": np.where(np.arange(400) % 2, "x", "y"),
            "target": 0.0,
        }
    )
    kinds = {"gone": "number", "endless": "number", "same": "integer", "kind": "category"}
    columns = [Column(name=name, type=kind) for name, kind in kinds.items()]
    contract = DataContract(task="regression", columns=(*columns, Column(name="target", type="number", role="target")))
    encoding = Encoding.of(rows, contract)
    before, now = (Rows(encoding.names, encoding.encode(item)) for item in (rows, rows.assign(kind="new", same=None)))
    assert domain_classifier(before, before, POLICY).outcome == "no_drift"
    found = domain_classifier(before, now, POLICY)
    assert found.outcome == "drift"
    assert Encoding.from_json(encoding.to_json()) == encoding


def test_a_saved_baseline_compares_whole_rows_as_before(churn):
    """Through the two files; without the larger one whole rows are not compared, and nothing is pretended."""
    baseline = build_baseline(churn_rows(2_000), churn_rows(2_000)["left"].to_numpy(), churn.contract)
    window = churn_rows(500, seed=1).assign(monthly_fee=lambda rows: rows["calls"] * 10.0)
    saved = Baseline.from_bytes(baseline.to_bytes(), baseline.reference_bytes())

    def look(known: Baseline, policy: DriftPolicy = POLICY) -> DriftReport:
        return detect_drift(known, window, window["left"].to_numpy(), churn.contract, policy, minimum_rows=30)

    assert look(baseline) == look(saved)
    assert look(saved).multivariate.outcome == "drift"
    assert "monthly_fee" in [name for name, _ in look(saved).multivariate.columns]
    assert look(Baseline.from_bytes(baseline.to_bytes())).multivariate is None
    assert look(saved, DriftPolicy(multivariate="none")).multivariate is None
    assert DriftReport.from_json(look(saved).to_json()) == look(saved)


def test_whole_rows_are_left_out_only_where_they_decide_nothing(churn):
    """Where a feature alone has drifted the report says the same without them; where none has they are compared."""
    baseline = build_baseline(churn_rows(2_000), churn_rows(2_000)["left"].to_numpy(), churn.contract)
    moved, still = (
        churn_rows(500, seed=1).assign(monthly_fee=lambda rows: rows["calls"] * 10.0),
        churn_rows(500, seed=2),
    )
    for window, left_out in ((moved, True), (still, False)):
        whole, deciding = (
            detect_drift(
                baseline, window, window["left"].to_numpy(), churn.contract, POLICY, minimum_rows=30, only_deciding=only
            )
            for only in (False, True)
        )
        assert (deciding.outcome, deciding.columns, deciding.joint) == (whole.outcome, whole.columns, whole.joint)
        assert (deciding.multivariate is None) == left_out
        assert whole.multivariate is not None


def test_blocks_of_the_policy_hold_for_whole_rows(churn):
    """Customers of 10 days are 10 blocks of a day, and three of four days."""
    rows = churn_rows(480)
    baseline = build_baseline(rows, rows["left"].to_numpy(), churn.contract)
    window = churn_rows(480, seed=1)
    outcomes = [
        detect_drift(
            baseline, window, window["left"].to_numpy(), churn.contract, DriftPolicy(block=block), minimum_rows=30
        ).multivariate.outcome
        for block in (timedelta(days=1), timedelta(days=4))
    ]
    assert outcomes == ["no_drift", "too_little_data"]


def test_answers_are_compared_with_those_for_held_out_rows(churn):
    """Features are those of the rows trained on; predictions and scores those of the others, of as many days."""
    train, holdout = churn_rows(960), churn_rows(240, seed=3)
    probabilities = np.tile([0.2, 0.8], (240, 1))
    output = Output(np.ones(240, dtype=bool), probabilities, np.array([False, True]))
    monitoring = churn.monitoring.model_copy(update={"drift": DriftPolicy(block=timedelta(days=1))})
    kept = model_baseline(train, holdout, output, churn.model_copy(update={"monitoring": monitoring}))
    assert (kept.rows, kept.blocks, kept.answer_blocks) == (960, 20, 5)
    assert kept.categories["prediction"].counts == {"True": 240}
    assert kept.numeric["score"].mean == pytest.approx(0.8)
    assert kept.numeric["calls"].rows == 960


def test_rows_that_never_get_a_label_come_live_as_well(churn):
    """A shop that reports nothing has no label and no calls: it is no row to learn from, and no burst a week later."""
    past = churn_rows(1200).astype({"calls": float, "left": object})
    past.loc[past.index % 4 == 0, ["calls", "left"]] = None
    labelled = past[past["left"].notna()].reset_index(drop=True)
    train, holdout = labelled[:700], labelled[700:]
    output = Output(np.ones(200, dtype=bool))
    # of the past that a model is not fitted on none is compared with
    for fitted in (train, train[350:]):
        among = past["seen_at"].between(fitted["seen_at"].min(), holdout["seen_at"].min(), inclusive="left").sum()
        kept = model_baseline(fitted, holdout, output, churn, past)
        assert (kept.rows, kept.numeric["calls"].missing_fraction) == (among, pytest.approx(0.25, abs=0.01))
    assert model_baseline(train, holdout, output, churn).numeric["calls"].missing_fraction == 0


def test_without_alibi_detect_its_detectors_say_so_and_ours_works(monkeypatch):
    """An error with the remedy; the default asks for nothing."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DriftError, match=r"alibi_mmd.*alibi-detect.*pip install"):
        detector_named("alibi_mmd")
    assert detector_named("domain_classifier") is domain_classifier
    assert detector_named("none") is None


def test_model_uncertainty_of_alibi_detect():
    """A model that has become less sure; it needs neither PyTorch nor TensorFlow."""
    pytest.importorskip("alibi_detect")
    rng = np.random.default_rng(0)
    before, now = (
        Rows(NAMES, rng.normal(size=(400, 4)).astype(np.float32), scores=rng.beta(*shape, 400))
        for shape in ((8, 2), (4, 4))
    )
    detector = detector_named("alibi_model_uncertainty")
    assert detector(before, now, POLICY).outcome == "drift"
    assert detector(before, before, POLICY).outcome == "no_drift"
    with pytest.raises(DriftError, match="probabilities"):
        detector(before, Rows(NAMES, now.values), POLICY)


def test_kernels_of_alibi_detect():
    """Where PyTorch is installed they run; where it is not, the error names the extra."""
    pytest.importorskip("alibi_detect")
    try:
        import torch  # noqa: F401
    except ImportError:
        with pytest.raises(DriftError, match="alibi-torch"):
            detector_named("alibi_lsdd")
        return
    moved = Rows(NAMES, _rows(1, 300).values + 1)
    assert detector_named("alibi_lsdd")(_rows(0, 300), moved, POLICY).outcome == "drift"

"""Decisions: a pure function, each branch with its sentence, and no retraining on faulty data whatever happens."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlcore.decision import DatasetSubject, History, ManualSubject, WindowSubject, decide
from mlcore.diagnosis import Diagnosis
from mlcore.policy.retraining import RetrainingPolicy

NOW = datetime(2026, 11, 23, tzinfo=UTC)
CAUSES = (
    "data_fault",
    "harmful_shift",
    "concept_change",
    "estimated_harm",
    "harmless_shift",
    "healthy",
    "too_little_data",
)
POLICY = RetrainingPolicy(
    harmed_windows=2,
    of_last_windows=3,
    cooldown=timedelta(hours=1),
    budget=2,
    budget_period=timedelta(days=30),
    minimum_new_rows=100,
)


def _window(cause: str, new_rows: int = 1000) -> WindowSubject:
    return WindowSubject(Diagnosis(cause, f"{cause} it is.", (), {}), new_rows)


@pytest.mark.parametrize(
    ("subject", "history", "action"),
    [
        (_window("healthy"), History(True), "nothing"),
        (_window("harmless_shift"), History(True), "watch"),
        (_window("estimated_harm"), History(True, ("harmful_shift", "harmful_shift")), "watch"),
        (_window("too_little_data"), History(True), "wait"),
        (_window("data_fault"), History(True, ("harmful_shift", "harmful_shift")), "fix_data"),
        (_window("harmful_shift"), History(True), "watch"),
        (_window("harmful_shift"), History(True, ("healthy", "concept_change")), "retrain"),
        (_window("harmful_shift"), History(True, ("healthy", "healthy", "harmful_shift")), "watch"),
        (_window("concept_change", 10), History(True, ("concept_change",)), "wait"),
        (_window("harmful_shift"), History(True, ("harmful_shift",), (NOW - timedelta(minutes=5),)), "wait"),
        (_window("harmful_shift"), History(True, ("harmful_shift",), (NOW - timedelta(hours=2),)), "retrain"),
        (_window("harmful_shift"), History(True, ("harmful_shift",), (NOW - timedelta(days=1),) * 2), "wait"),
        (_window("harmful_shift"), History(True, ("harmful_shift",), (NOW + timedelta(hours=1),)), "wait"),
        (DatasetSubject(1, 10), History(False), "retrain"),
        (DatasetSubject(2, 10), History(True), "retrain"),
        (DatasetSubject(2, 10), History(True, (), (NOW,)), "wait"),
        (ManualSubject("I want to"), History(True, (), (NOW,)), "retrain"),
    ],
)
def test_each_case_has_its_action(subject, history, action):
    """The table of the policy, one row a case."""
    decision = decide(subject, history, POLICY, NOW)
    assert decision.action == action
    assert decision.sentence.strip().endswith(".")


@pytest.mark.parametrize(
    ("growth", "new_rows", "known_rows", "action"),
    [(None, 9000, 1000, "watch"), (1.0, 999, 1000, "watch"), (1.0, 1000, 1000, "retrain"), (1.0, 9000, 0, "watch"),
     (0.5, 90, 100, "watch")],
)  # fmt: skip
def test_a_harmless_shift_may_be_learned_once_much_is_new(growth, new_rows, known_rows, action):
    """As many rows again as the champion knows, where the policy says so; never fewer than any retraining needs."""
    policy = POLICY.model_copy(update={"growth_fraction": growth})
    shifted = WindowSubject(Diagnosis("harmless_shift", "It moved.", (), {}), new_rows, known_rows)
    assert decide(shifted, History(True), policy, NOW).action == action
    assert decide(shifted, History(True, (), (NOW,)), policy, NOW).action in ("watch", "wait")
    healthy = WindowSubject(Diagnosis("healthy", "It did not.", (), {}), new_rows, known_rows)
    assert decide(healthy, History(True), policy, NOW).action == "nothing"


@pytest.mark.parametrize(
    ("cause", "action"),
    [("concept_change", "wait"), ("harmful_shift", "wait"), ("data_fault", "fix_data"), ("healthy", "nothing")],
)
def test_harm_of_an_earlier_models_answers_is_answered_already(cause, action):
    """Where labels come late, the first windows judged under a new champion are still those of the one before it."""
    policy = POLICY.model_copy(update={"harmed_windows": 1, "of_last_windows": 1})
    mine, earlier = _window(cause), replace(_window(cause), by_champion=False)
    assert decide(earlier, History(True), policy, NOW).action == action
    assert decide(mine, History(True), policy, NOW).action == ("retrain" if action == "wait" else action)


@pytest.mark.parametrize(
    ("earlier", "new_rows", "action"), [(True, 399, "wait"), (True, 400, "retrain"), (False, 399, "retrain")]
)
def test_harm_beside_an_earlier_model_alone_waits_for_what_the_next_model_would_learn(earlier, new_rows, action):
    """What judged this model teaches the next one, once as much is new; harm beside its own figure does not wait."""
    policy = POLICY.model_copy(update={"harmed_windows": 1, "of_last_windows": 1})
    evidence = {"performance": {"earlier": earlier, "held_out_rows": 400}}
    subject = WindowSubject(Diagnosis("concept_change", "Harmed.", (), evidence), new_rows)
    assert decide(subject, History(True), policy, NOW).action == action


def test_a_policy_may_ignore_new_data():
    """New data alone need not retrain; the first model is trained all the same."""
    policy = RetrainingPolicy(on_new_dataset="ignore")
    assert decide(DatasetSubject(2, 10), History(True), policy, NOW).action == "nothing"
    assert decide(DatasetSubject(1, 10), History(False), policy, NOW).action == "retrain"


@given(
    cause=st.sampled_from(CAUSES),
    earlier=st.lists(st.sampled_from(CAUSES), max_size=5),
    ages=st.lists(st.timedeltas(timedelta(0), timedelta(days=60)), max_size=5),
    new_rows=st.integers(0, 10_000),
)
def test_laws(cause, earlier, ages, new_rows):
    """Pure; a data fault never retrains; cool-down and budget hold for every window."""
    history = History(True, tuple(earlier), tuple(NOW - age for age in ages))
    decision = decide(_window(cause, new_rows), history, POLICY, NOW)
    assert decision == decide(_window(cause, new_rows), history, POLICY, NOW)
    if decision.action == "retrain":
        assert cause in ("harmful_shift", "concept_change")
        assert new_rows >= POLICY.minimum_new_rows
        assert all(age >= POLICY.cooldown for age in ages)
        assert sum(age < POLICY.budget_period for age in ages) < POLICY.budget
    if cause == "data_fault":
        assert decision.action == "fix_data"


@pytest.mark.parametrize(
    ("rows", "earlier", "action"),
    [(24, (), "watch"), (24, ("healthy", "concept_change"), "watch"), (24, ("concept_change",), "retrain"),
     (48, (), "retrain")],
)  # fmt: skip
def test_one_small_window_alone_does_not_retrain(rows, earlier, action):
    """A fault can hide in few rows: harm is believed when the next window says it again."""
    subject = WindowSubject(Diagnosis("concept_change", "Harmed.", (), {"rows": rows}), 1000)
    decision = decide(subject, History(True, earlier), RetrainingPolicy(), NOW)
    assert decision.action == action
    assert ("cannot be ruled out" in decision.sentence) == (action == "watch")

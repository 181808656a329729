"""What to do about it: a pure function of what was found, what happened before, and the policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from mlcore.diagnosis import Diagnosis

if TYPE_CHECKING:
    from mlcore.policy.retraining import RetrainingPolicy

Action = Literal["retrain", "fix_data", "watch", "nothing", "wait"]
#: What holds back a retraining that is wanted.
Limit = Literal["already running", "cool-down", "budget spent"]
HARM: Final = ("harmful_shift", "concept_change")
#: Fewer rows are no distribution: a range cut off or a late clock can hide in them, and looks like harm.
RULES_FAULTS_OUT: Final = 48
#: Causes in which the world, not the data, has moved.
DRIFT: Final = (*HARM, "estimated_harm", "harmless_shift")


@dataclass(frozen=True, slots=True)
class WindowSubject:
    """A diagnosed window.

    Parameters
    ----------
    diagnosis : Diagnosis
    new_rows : int
        Labelled rows the champion was not trained on.
    known_rows : int, default=0
        Rows it was trained on; 0 where nobody knows.
    by_champion : bool, default=True
        Whether the champion gave the window's last answers; an earlier model did where labels come late.
    """

    diagnosis: Diagnosis
    new_rows: int
    known_rows: int = 0
    by_champion: bool = True


@dataclass(frozen=True, slots=True)
class DatasetSubject:
    """A dataset version that somebody published."""

    version: int
    new_rows: int


@dataclass(frozen=True, slots=True)
class ManualSubject:
    """A person who asked for it."""

    reason: str


Subject = WindowSubject | DatasetSubject | ManualSubject


@dataclass(frozen=True, slots=True)
class History:
    """What happened before.

    Parameters
    ----------
    has_champion : bool
    earlier_causes : tuple of str
        Causes of the windows of the same cadence judged before under this champion, newest first.
    retrainings : tuple of datetime
        When retrainings were started, in any order.
    is_running : bool, default=False
        Whether one was asked for that is not done.
    """

    has_champion: bool
    earlier_causes: tuple[str, ...] = ()
    retrainings: tuple[datetime, ...] = ()
    is_running: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, why, and what would have changed it.

    Parameters
    ----------
    action : {"retrain", "fix_data", "watch", "nothing", "wait"}
    sentence : str
        For a manager.
    would_change : str
        What would have led to another action.
    evidence : mapping
    limit : {"already running", "cool-down", "budget spent"}, optional
        What held back a retraining that the subject alone would have led to.
    """

    action: Action
    sentence: str
    would_change: str
    evidence: Mapping[str, Any]
    limit: Limit | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for the ledger."""
        return {"format": 1, **asdict(self)}


def decide(subject: Subject, history: History, policy: RetrainingPolicy, now: datetime) -> Decision:
    """Decide about one subject.

    Pure: the same arguments give the same decision. A data fault never retrains; budget and cool-down hold for
    every retraining that no person asked for.

    Examples
    --------
    >>> from datetime import UTC
    >>> from mlcore.policy.retraining import RetrainingPolicy
    >>> now = datetime(2026, 1, 1, tzinfo=UTC)
    >>> decide(DatasetSubject(version=1, new_rows=1000), History(has_champion=False), RetrainingPolicy(), now).action
    'retrain'
    """
    if isinstance(subject, ManualSubject):
        return Decision("retrain", f"A person asked for it: {subject.reason or 'no reason given'}.", "Not asking.", {})
    wanted = (
        _about_dataset(subject, history, policy)
        if isinstance(subject, DatasetSubject)
        else _about_window(subject, history, policy)
    )
    if wanted.action != "retrain" or not history.has_champion:
        return wanted
    if history.is_running and isinstance(subject, WindowSubject):
        # the windows after it tell whether it helped; new data is not seen by what runs already, and waits its turn
        return Decision(
            "wait",
            f"A retraining is asked for already and not done. {wanted.sentence}",
            "Its end.",
            wanted.evidence,
            "already running",
        )
    return _within_limits(wanted, history, policy, now)


def _about_dataset(subject: DatasetSubject, history: History, policy: RetrainingPolicy) -> Decision:
    evidence = {"dataset_version": subject.version, "new_rows": subject.new_rows}
    if not history.has_champion:
        return Decision(
            "retrain", f"Dataset version {subject.version} is here and there is no model yet.", "", evidence
        )
    if policy.on_new_dataset == "ignore":
        return Decision(
            "nothing",
            f"Dataset version {subject.version} is here; the policy does not retrain for new data alone.",
            "retraining.on_new_dataset: retrain",
            evidence,
        )
    return Decision(
        "retrain", f"Dataset version {subject.version} is here.", "retraining.on_new_dataset: ignore", evidence
    )


def _about_window(subject: WindowSubject, history: History, policy: RetrainingPolicy) -> Decision:
    diagnosis = subject.diagnosis
    # what cannot be told from a fault in one small window is believed when the next one says it again
    small = diagnosis.evidence.get("rows", RULES_FAULTS_OUT) < RULES_FAULTS_OUT
    least = 2 if small else 1
    wanted, of_last = max(least, policy.harmed_windows), max(least, policy.of_last_windows)
    causes = (diagnosis.cause, *history.earlier_causes)[:of_last]
    harmed = sum(cause in HARM for cause in causes)
    evidence = {
        "cause": diagnosis.cause,
        "harmed_windows": harmed,
        "windows_looked_at": len(causes),
        "new_rows": subject.new_rows,
    }
    if diagnosis.cause == "data_fault":
        return Decision("fix_data", f"Fix the data, do not retrain. {diagnosis.sentence}", "Sound data.", evidence)
    if diagnosis.cause == "too_little_data":
        return Decision("wait", f"Wait for data. {diagnosis.sentence}", "More rows or more labels.", evidence)
    if diagnosis.cause == "estimated_harm":
        return Decision(
            "watch",
            f"Keep watching, and bring labels. {diagnosis.sentence}",
            "Labels that prove harm, or monitoring.performance.estimated_harm: counts",
            evidence,
        )
    if diagnosis.cause == "harmless_shift":
        return _about_harmless(subject, policy, evidence)
    if diagnosis.cause in ("season", "healthy"):
        return Decision("nothing", f"Nothing to do. {diagnosis.sentence}", "An error that grows.", evidence)
    if not subject.by_champion:
        # its harm has been answered already, by the champion that came after it
        return Decision(
            "wait",
            f"The champion came after these answers, which an earlier model gave. {diagnosis.sentence}",
            "A harmed window that the champion answered.",
            evidence,
        )
    measured = diagnosis.evidence.get("performance") or {}
    if measured.get("earlier") and subject.new_rows < measured["held_out_rows"]:
        # what this model was judged by is what the next one learns: until then it would know no more of the change
        return Decision(
            "wait",
            f"A model that knows more needs {measured['held_out_rows']:,} new labelled rows, as many as this one was "
            f"validated by, and {subject.new_rows:,} are there. {diagnosis.sentence}",
            "More labelled rows.",
            evidence,
        )
    if harmed < wanted:
        why = f", since a data fault cannot be ruled out in fewer than {RULES_FAULTS_OUT} rows" if small else ""
        return Decision(
            "watch",
            f"{harmed} harmed window{' is' if harmed == 1 else 's are'} not enough, {wanted} of the last {of_last} are "
            f"asked for{why}. {diagnosis.sentence}",
            "Another harmed window.",
            evidence,
        )
    if subject.new_rows < policy.minimum_new_rows:
        return Decision(
            "wait",
            f"Retraining would see {subject.new_rows:,} new labelled rows, {policy.minimum_new_rows:,} are asked for. "
            f"{diagnosis.sentence}",
            "More labelled rows.",
            evidence,
        )
    which = "The window is" if len(causes) == 1 else f"{harmed} of the last {len(causes)} windows are"
    return Decision(
        "retrain",
        f"{which} harmed. {diagnosis.sentence}",
        "An error back in its limits.",
        evidence,
    )


def _about_harmless(subject: WindowSubject, policy: RetrainingPolicy, evidence: Mapping[str, Any]) -> Decision:
    """Watch, until so much is new that a model of all of it should know more of where the inputs have moved to."""
    told, growth = subject.diagnosis.sentence, policy.growth_fraction
    evidence = {**evidence, "known_rows": subject.known_rows}
    needed = max(policy.minimum_new_rows, (growth or 0.0) * subject.known_rows)
    if growth is not None and subject.known_rows and subject.new_rows >= needed:
        sentence = f"{subject.new_rows:,} labelled rows are new beside {subject.known_rows:,} known ones. {told}"
        return Decision(
            "retrain", sentence, f"Fewer new rows, or retraining.growth_fraction above {growth:g}", evidence
        )
    return Decision("watch", f"Keep watching. {told}", "An error that grows.", evidence)


def _within_limits(wanted: Decision, history: History, policy: RetrainingPolicy, now: datetime) -> Decision:
    # a clock that was set back must not make a past retraining look like a future one: take it as just done
    ages = sorted(max(now - when, now - now) for when in history.retrainings)
    if ages and ages[0] < policy.cooldown:
        left = policy.cooldown - ages[0]
        return Decision(
            "wait",
            f"The last retraining was {_words(ages[0].total_seconds())} ago; the cool-down lasts another "
            f"{_words(left.total_seconds())}. {wanted.sentence}",
            "The end of the cool-down.",
            wanted.evidence,
            "cool-down",
        )
    spent = sum(age < policy.budget_period for age in ages)
    if spent >= policy.budget:
        return Decision(
            "wait",
            f"The budget of {policy.budget} retrainings in {_words(policy.budget_period.total_seconds())} is spent. "
            f"{wanted.sentence}",
            "A larger budget, or time.",
            wanted.evidence,
            "budget spent",
        )
    return wanted


def _words(seconds: float) -> str:
    for name, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} seconds"

"""A use case: one model to operate, read from one usecase.yaml."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mlcore.canonical import digest_value
from mlcore.contract import DataContract, Frozen, Name
from mlcore.errors import UseCaseError
from mlcore.owncode import FILE, defined_functions, find_code
from mlcore.policy.approval import ApprovalPolicy
from mlcore.policy.cleaning import CleaningPolicy
from mlcore.policy.monitoring import MonitoringPolicy
from mlcore.policy.naming import feature_names
from mlcore.policy.retraining import RetrainingPolicy
from mlcore.policy.serving import ServingPolicy
from mlcore.policy.training import TrainingPolicy
from mlcore.policy.validation import ValidationPolicy

FILE_NAME = "usecase.yaml"


class Owner(Frozen):
    """Who answers for the model and receives its alerts."""

    name: str = Field(min_length=1, description="A person or a team.")
    email: str = Field(pattern=r"^[^@\s]+@[^@\s]+$", description="Where alerts and questions go.")
    notify: tuple[str, ...] = Field(default=(), description="Names of Prefect notification blocks, as type/name.")


class UseCase(Frozen):
    """Everything needed to operate one model."""

    format: Literal[1] = Field(description="Version of this file's format.")
    name: Name = Field(description="Name of the use case, and of its folder.")
    title: str = Field(min_length=1, description="What people read in reports and alerts.")
    description: str = Field(default="", description="What is predicted, from what, for whom.")
    owner: Owner = Field(description="Who answers for the model.")
    contract: DataContract = Field(description="The columns of the data and what they promise.")
    cleaning: CleaningPolicy = Field(
        default=CleaningPolicy(), description="How a batch is cleaned before it becomes a dataset version."
    )
    training: TrainingPolicy = Field(description="What is trained.")
    validation: ValidationPolicy = Field(
        default=ValidationPolicy(), description="When a challenger may replace the champion."
    )
    approval: ApprovalPolicy = Field(default=ApprovalPolicy(), description="When a person must agree, and who may.")
    serving: ServingPolicy = Field(default=ServingPolicy(), description="Limits of the service and its capture.")
    monitoring: MonitoringPolicy = Field(
        default=MonitoringPolicy(), description="How served rows are cut into windows, and what is measured on each."
    )
    retraining: RetrainingPolicy = Field(
        default=RetrainingPolicy(), description="When a finding leads to a retraining."
    )

    @model_validator(mode="after")
    def _columns_exist(self) -> Self:
        for where, name in self._named_columns():
            if name not in self.contract.names:
                near = difflib.get_close_matches(name, self.contract.names, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"{where}: the contract has no column {name!r}{hint}")
        return self

    @model_validator(mode="after")
    def _rows_have_times(self) -> Self:
        if self.contract.time is None and set(self.training.rows.choices) != {"everything"}:
            raise ValueError("training.rows.choices: without a time column only 'everything' can count")
        return self

    @model_validator(mode="after")
    def _rules_fit_the_columns(self) -> Self:
        for rule in self.validation.invariances:
            if not self.contract.column(rule.column).is_numeric:
                raise ValueError(f"validation.invariances: {rule.column!r} is no number that could be changed")
        target = self.contract.target
        for group in self.validation.fairness:
            if self.contract.task != "classification":
                raise ValueError("validation.fairness: it is measured for classification only")
            if group.positive and target.categories is not None and group.positive not in target.categories:
                raise ValueError(f"validation.fairness.positive: {target.name} is never {group.positive!r}")
        return self

    def _named_columns(self) -> Iterator[tuple[str, str]]:
        yield from (("cleaning.drop_rows_missing", name) for name in self.cleaning.drop_rows_missing)
        yield from (("cleaning.outliers", rule.column) for rule in self.cleaning.outliers)
        yield from (("training.exclude", name) for name in self.training.exclude)
        yield from (("validation.slices", rule.column) for rule in self.validation.slices)
        yield from (("validation.fairness", rule.column) for rule in self.validation.fairness)
        yield from (("validation.leaks.allow", name) for name in self.validation.leaks.allow)
        yield from (("validation.invariances", rule.column) for rule in self.validation.invariances)

    @property
    def gate_metric(self) -> str:
        """Name of the metric that the gate judges by: the validation's, or the search's."""
        return self.validation.metric or self.training.search.metric

    @property
    def window_metric(self) -> str:
        """Name of the metric that windows are judged by: the monitoring's, or the gate's."""
        return self.monitoring.performance.metric or self.gate_metric

    @property
    def digest(self) -> str:
        """Digest over the whole definition; equal definitions have equal digests whatever the YAML looks like."""
        return digest_value(self.model_dump(mode="json"))


def load_usecase(folder: Path) -> UseCase:
    """Read the use case in `folder`.

    Parameters
    ----------
    folder : Path
        A folder with a ``usecase.yaml``; the folder's name must be the use case's name.

    Raises
    ------
    UseCaseError
        If the file is missing, is not YAML, or holds an unknown key or a bad value; the message names
        the file, the key, what was expected and what was found.
    OwnCodeError
        If features are made by own functions and the folder's ``features.py`` is not Python.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise UseCaseError(
            "no such use case",
            subject=str(folder),
            expected=f"a folder with a {FILE_NAME}",
            got="a folder without one" if folder.is_dir() else "no such folder",
            remedy=f"Known here: {', '.join(list_usecases(folder.parent)) or 'none'}. `mlops init` writes a new one.",
        )
    usecase = parse_usecase(_read_yaml(path), source=str(path))
    if usecase.name != folder.name:
        raise UseCaseError(
            "name and folder differ",
            subject=f"{path}: name",
            expected=folder.name,
            got=usecase.name,
            remedy="Rename one of the two.",
        )
    return _with_code(usecase, folder)


def find_usecase(root: Path, name: str) -> UseCase:
    """Read the use case called `name` of those in `root`, and no other folder: anybody can put a name into an event.

    Raises
    ------
    UseCaseError, OwnCodeError
        If there is none, or it cannot be read, see `load_usecase`.
    """
    known = list_usecases(root)
    if name not in known:
        raise UseCaseError(
            "no such use case",
            subject=name[:200],
            expected=f"one of {', '.join(known)}" if known else f"a folder with a {FILE_NAME} in {root}",
            got="none of this name",
            remedy="`mlops init` writes a new one; MLOPS_USECASES says where to look.",
        )
    return load_usecase(root / name)


def _with_code(usecase: UseCase, folder: Path) -> UseCase:
    """Write the digest of the folder's own code into the steps that use it, so that it goes wherever they go."""
    if not any(step.kind == "own" for step in usecase.training.features):
        return usecase
    subject, current = f"{folder / FILE_NAME}: training.features: own", find_code(folder)
    if not current:
        raise UseCaseError("own code is missing", subject=subject, expected=f"a file {FILE} beside it", got="none")
    steps = []
    for step in usecase.training.features:
        if step.function is None:
            steps.append(step)
            continue
        code = step.code or current
        known = defined_functions(code)
        if step.function not in known:
            expected = f"a function of {FILE}, of {', '.join(known) or 'none'}"
            raise UseCaseError("no such function", subject=subject, expected=expected, got=step.function)
        steps.append(step.model_copy(update={"code": code}))
    training = usecase.training.model_copy(update={"features": tuple(steps)})
    return usecase.model_copy(update={"training": training})


def list_usecases(root: Path) -> list[str]:
    """Return the names of the use cases in `root`, sorted."""
    return sorted(path.parent.name for path in root.glob(f"*/{FILE_NAME}"))


def parse_usecase(data: Any, *, source: str) -> UseCase:
    """Build a use case from what a YAML file held; `source` names it in errors.

    Raises
    ------
    UseCaseError
        Naming up to five keys that are unknown or have bad values, or the first feature that cannot be made.
    """
    try:
        # JSON mode: strict about values, yet lists are tuples and ISO 8601 durations are timedeltas.
        usecase = UseCase.model_validate_json(json.dumps(data, default=str))
    except ValidationError as error:
        raise UseCaseError(
            "the use case cannot be understood",
            subject=source,
            got="; ".join(_describe(problem) for problem in error.errors()[:5]),
            remedy="The keys and their values are documented in docs/usecase.md and usecases/usecase.schema.json.",
        ) from None
    try:
        feature_names(usecase.training, usecase.contract)
    except UseCaseError as error:
        raise UseCaseError(
            error.message,
            subject=f"{source}: {error.subject}",
            expected=error.expected,
            got=error.got,
            remedy=error.remedy,
        ) from None
    return usecase


def _describe(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"]) or "the whole file"
    if problem["type"] == "extra_forbidden":
        return f"{where}: unknown key"
    if problem["type"] == "missing":
        return f"{where}: required key is missing"
    if problem["type"] == "value_error":
        return f"{where}: {problem['msg'].removeprefix('Value error, ')}"
    return f"{where}: {problem['msg']} (got {str(problem['input'])[:40]!r})"


def _read_yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        raise UseCaseError(
            "not a YAML file",
            subject=f"{path}:{mark.line + 1}" if mark else str(path),
            expected="YAML in UTF-8",
            got=str(getattr(error, "problem", error)),
            remedy="Mend the file at that line.",
        ) from None

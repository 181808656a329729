"""Names and types of generated features: unique, readable, and the same wherever they appear."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import combinations_with_replacement

from mlcore.contract import ColumnType, DataContract
from mlcore.errors import UseCaseError
from mlcore.policy.training import FeatureStep, TrainingPolicy


def generated_names(step: FeatureStep, contract: DataContract) -> tuple[str, ...]:
    """Return the names of the features that `step` makes, in the order in which it makes them.

    Raises
    ------
    UseCaseError
        If the step does not have the columns or parts that its kind needs, or names a column that no
        model may see.

    Examples
    --------
    >>> from mlcore.contract import Column
    >>> contract = DataContract(task="regression", columns=(
    ...     Column(name="at", type="timestamp", role="time"), Column(name="a", type="number"),
    ...     Column(name="b", type="number"), Column(name="y", type="number", role="target")))
    >>> generated_names(FeatureStep(kind="cyclic", columns=("at",), parts=("hour",)), contract)
    ('at_hour_sin', 'at_hour_cos')
    >>> generated_names(FeatureStep(kind="polynomial", columns=("a", "b"), degree=2), contract)
    ('a_pow2', 'a_times_b', 'b_pow2')
    """
    _check(step, contract)
    columns = step.columns
    ago = f"_lag_{_length(step.after)}" if step.after else ""
    among = f"_by_{'_'.join(step.by)}" if step.by else ""
    names = {
        "calendar": tuple(f"{column}_{part}" for column in columns for part in step.parts),
        "cyclic": tuple(
            f"{column}_{part}_{wave}" for column in columns for part in step.parts for wave in ("sin", "cos")
        ),
        "ratio": ("_per_".join(columns),),
        "product": ("_times_".join(columns),),
        "cross": ("_x_".join(columns),),
        "bins": tuple(f"{column}_bin" for column in columns),
        "polynomial": tuple(_monomial_name(monomial) for monomial in monomials(columns, step.degree)),
        "frequency": tuple(f"{column}_frequency" for column in columns),
        "lag": tuple(f"{column}{ago}{among}" for column in columns),
        "rolling": tuple(
            f"{column}_{statistic}_{_length(step.window)}{ago}{among}"
            for column in columns
            for statistic in step.statistics
        ),
        "own": (step.function or "",),
    }
    return names[step.kind]


def generated_types(step: FeatureStep, contract: DataContract) -> tuple[str, ...]:
    """Return what each feature of `step` is: a column's type, or ``ordinal`` (a number that is only a rank).

    Examples
    --------
    >>> from mlcore.contract import Column
    >>> contract = DataContract(task="regression", columns=(
    ...     Column(name="a", type="number"), Column(name="b", type="category"),
    ...     Column(name="y", type="number", role="target")))
    >>> generated_types(FeatureStep(kind="cross", columns=("a", "b")), contract)
    ('category',)
    """
    if step.kind == "lag":
        return tuple(contract.column(column).type for column in step.columns)
    if step.kind == "rolling":
        return tuple("integer" if name == "count" else "number" for _ in step.columns for name in step.statistics)
    kind = {"calendar": "integer", "cross": "category", "bins": "ordinal"}.get(step.kind, "number")
    return (kind,) * len(generated_names(step, contract))


def _length(time: timedelta | None) -> str:
    """Return a duration in its largest unit that is whole; a single day is 24 hours."""
    seconds = int((time or timedelta(0)).total_seconds())
    for unit, size, least in (("d", 86400, 2), ("h", 3600, 1), ("m", 60, 1)):
        if seconds % size == 0 and seconds >= least * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def monomials(columns: Sequence[str], degree: int) -> list[tuple[str, ...]]:
    """Return the monomials of degree 2 up to `degree`, each as its factors with repeats."""
    return [
        monomial for order in range(2, degree + 1) for monomial in combinations_with_replacement(tuple(columns), order)
    ]


def _monomial_name(monomial: tuple[str, ...]) -> str:
    powers = {column: monomial.count(column) for column in monomial}
    return "_times_".join(column if power == 1 else f"{column}_pow{power}" for column, power in powers.items())


def feature_names(policy: TrainingPolicy, contract: DataContract) -> tuple[str, ...]:
    """Return every name a model of this use case can see: raw features first, then generated ones.

    Raises
    ------
    UseCaseError
        If two features would have one name, a step uses a name that nothing before it makes, or looks at the
        target before it is known.
    """
    names = [column.name for column in contract.features if column.name not in policy.exclude]
    for step in policy.features:
        unknown = [name for name in step.columns if name not in contract.names and name not in names]
        if unknown:
            raise _refusal(step, f"a column or an earlier feature, of {', '.join(names)}", ", ".join(unknown))
        if contract.target.name in step.columns and step.after < policy.search.gap:
            least = f"after of at least training.search.gap, {_length(policy.search.gap)}: labels are not known before"
            raise _refusal(step, least, _length(step.after))
        for name in generated_names(step, contract):
            if name in names or name in contract.names:
                raise UseCaseError(
                    "two features have one name",
                    subject=f"training.features: {step.kind}",
                    got=name,
                    remedy="Remove one of the two steps, or rename the column.",
                )
            names.append(name)
    return tuple(names)


def _check(step: FeatureStep, contract: DataContract) -> None:
    allowed: dict[str, tuple[ColumnType, ...]] = {"calendar": ("timestamp",), "cyclic": ("timestamp",)}
    numeric: tuple[ColumnType, ...] = ("integer", "number", "boolean")
    for kind in ("ratio", "product", "bins", "polynomial"):
        allowed[kind] = numeric
    allowed["cross"] = allowed["lag"] = (*numeric, "category", "text")
    allowed["rolling"] = numeric
    allowed["own"] = ("timestamp", *numeric, "category", "text")
    allowed["frequency"] = ("integer", "boolean", "category", "text")
    visible = {column.name: column for column in contract.inputs if column.role != "key"}
    if step.looks_back:
        _check_past(step, contract)
        visible[contract.target.name] = contract.target
    for name in step.columns:
        column = visible.get(name)
        if column is None and name in contract.names:
            hidden = contract.column(name).role
            raise _refusal(step, f"a feature or the time column, not the {hidden}", name)
        if column is not None and column.type not in allowed[step.kind]:
            raise _refusal(step, f"a column of type {' or '.join(allowed[step.kind])}", f"{name} of type {column.type}")
    if (step.kind == "own") != (step.function is not None):
        raise _refusal(step, "a function for `own`, and only there", step.function or "none")
    if step.kind in ("calendar", "cyclic") and not step.parts:
        raise _refusal(step, "at least one of parts", "none")
    least, most = {"ratio": (2, 2), "product": (2, 9), "cross": (2, 4)}.get(step.kind, (1, 99))
    if not least <= len(step.columns) <= most:
        raise _refusal(step, f"{least} to {most} columns", str(len(step.columns)))


def _check_past(step: FeatureStep, contract: DataContract) -> None:
    if contract.time is None:
        raise _refusal(step, "a contract with a time column", "none")
    generated = [name for name in step.columns if name not in contract.names]
    if generated:
        raise _refusal(step, "columns of the contract: generated features are not kept", ", ".join(generated))
    groups = {c.name for c in contract.inputs if c.type in ("integer", "boolean", "category", "text")}
    wrong = [name for name in step.by if name not in groups]
    if wrong:
        raise _refusal(step, f"by of {', '.join(sorted(groups)) or 'nothing here'}", ", ".join(wrong))
    if step.kind == "rolling" and step.window is None:
        raise _refusal(step, "a window", "none")
    needed = contract.target.name in step.columns or step.kind == "lag"
    if needed and not step.after:
        raise _refusal(step, "after above zero", "none")
    for time in (step.after, step.window):
        if time is not None and time.microseconds:
            raise _refusal(step, "whole seconds", str(time))


def _refusal(step: FeatureStep, expected: str, got: str) -> UseCaseError:
    return UseCaseError(
        "a feature cannot be made", subject=f"training.features: {step.kind}", expected=expected, got=got
    )

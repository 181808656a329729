"""Settings of the policy to compare: every combination of the values given for keys of usecase.yaml."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mlcore.errors import UseCaseError
from mlcore.usecase import UseCase, parse_usecase

MOST_SETTINGS: Final = 100
_SECTIONS: Final = ("retraining", "monitoring", "validation")


def settings_of(usecase: UseCase, grid: Mapping[str, Sequence[Any]]) -> dict[str, UseCase]:
    """Return the use case under each combination, by a name that tells what differs.

    Parameters
    ----------
    usecase : UseCase
    grid : mapping of key to values
        Keys are dotted, as in ``retraining.cooldown``; values as in YAML.

    Raises
    ------
    UseCaseError
        If a key is not one of the policy, a value is not allowed for it, or there are too many combinations.
    """
    if not grid:
        return {}
    combinations = list(itertools.product(*([(key, value) for value in values] for key, values in grid.items())))
    if not 0 < len(combinations) <= MOST_SETTINGS:
        raise UseCaseError(
            "this grid cannot be replayed",
            subject=usecase.name,
            expected=f"1 to {MOST_SETTINGS} combinations",
            got=str(len(combinations)),
            remedy="Give each key a list of one value or more, and fewer of them.",
        )
    found = {}
    for chosen in combinations:
        name = ", ".join(f"{key}={value}" for key, value in chosen)
        values = usecase.model_dump(mode="json")
        for key, value in chosen:
            _put(values, key, value)
        found[name] = parse_usecase(values, source=name)
    return found


def parse_set(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Return the grid that repeated ``key=value`` options make; a key given twice has two values.

    Raises
    ------
    UseCaseError
        If one of them is something else.

    Examples
    --------
    >>> parse_set(["retraining.cooldown=P7D", "retraining.budget=2", "retraining.budget=4"])
    {'retraining.cooldown': ['P7D'], 'retraining.budget': [2, 4]}
    """
    import yaml

    grid: dict[str, list[Any]] = {}
    for text in texts:
        key, sign, value = text.partition("=")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            parsed = value
        if not sign or not key:
            raise UseCaseError("not a setting", subject=text, expected="key=value, as retraining.cooldown=P7D")
        grid.setdefault(key.strip(), []).append(parsed)
    return grid


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    place: Any = values
    for part in path:
        place = place.get(part) if isinstance(place, dict) else None
    if not path or path[0] not in _SECTIONS or not isinstance(place, dict):
        raise UseCaseError(
            "not a key of the policy",
            subject=key,
            expected=f"a dotted key of {', '.join(_SECTIONS)}, as retraining.cooldown",
            remedy="docs/usecase.md lists them.",
        )
    place[last] = value

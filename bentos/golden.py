"""Proving a service on rows whose answers are known, before it takes traffic."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

import aiohttp

from bentos.child import ChildError

#: Answers travel as JSON numbers, which keep float64 exactly; the rest is summation order.
_RELATIVE_TOLERANCE: Final = 1e-9


async def prove(session: aiohttp.ClientSession, url: str, bento: Path) -> int:
    """Send the model's golden rows and compare the answers; return how many rows were proven.

    Raises
    ------
    ChildError
        If the service refuses them, or answers anything else than the model did when it was saved.
    """
    file = bento / "src" / "bundle" / "model" / "golden.json"
    try:
        golden = json.loads(file.read_text(encoding="utf-8"))
        rows, answers = golden["rows"], golden["expected"]
    except (OSError, ValueError, KeyError) as error:
        raise ChildError(f"the golden rows cannot be read from {file}: {error}") from None
    if not rows:
        return 0
    try:
        async with session.post(f"{url}/predict", json={"rows": rows}, headers={"X-Capture": "off"}) as answer:
            text = await answer.text()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ChildError(f"the service does not answer its golden rows: {error}") from None
    if answer.status != 200:
        raise ChildError(f"the service refuses its golden rows with {answer.status}: {text[:300]}")
    got = [item["prediction"] for item in json.loads(text)["predictions"]]
    if len(got) != len(answers):
        raise ChildError(f"{len(answers)} golden rows got {len(got)} answers")
    for number, (expected, found) in enumerate(zip(answers, got, strict=True)):
        if not _same(expected, found):
            raise ChildError(f"golden row {number}: expected {expected}, got {found}")
    return len(got)


def _same(expected: Any, found: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, (int, float)):
        return math.isclose(expected, found, rel_tol=_RELATIVE_TOLERANCE, abs_tol=1e-12)
    return bool(expected == found)

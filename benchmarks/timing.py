"""Fair timing: the contestants take turns, the minimum of the rounds counts, ratios are printed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def race(contestants: Mapping[str, Callable[[], object]], *, floor: str, rounds: int = 5) -> dict[str, float]:
    """Run every contestant in turn, `rounds` times; return the seconds of each one's fastest round."""
    best = dict.fromkeys(contestants, float("inf"))
    for name, run in contestants.items():
        run()  # warm up: imports, caches, compiled code
        best[name] = float("inf")
    for _ in range(rounds):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            best[name] = min(best[name], time.perf_counter() - began)
    for name, seconds in best.items():
        print(f"  {name:<34} {seconds * 1000:10.2f} ms   {seconds / best[floor]:7.2f} x floor")
    return best

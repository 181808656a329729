"""The digits of values: converted and rounded again they leave gaps, and by chance they never do."""

from __future__ import annotations

import numpy as np
import pytest

from mlcore.diagnosis.lattice import chance_of_return, decimal_step
from mlcore.units import GUESSED_FAULTS

DEGREES = np.round(np.random.default_rng(0).normal(10, 6, 2000), 1)


def _month(seed, digits=1):
    return np.round(np.random.default_rng(seed).normal(14, 4, 31), digits)


@pytest.mark.parametrize(
    ("factor", "offset", "digits"),
    [(1.8, 32.0, 1), (1.8, 32.0, 2), (1.8, 32.0, 9), (0.3048, 0.0, 2), (0.3048, 0.0, 9), (10.0, 0.0, 1)],
)
def test_a_month_that_was_converted_falls_back_where_its_values_were(factor, offset, digits):
    """However it was rounded, but for digits that hide the gaps; and no other conversion explains it as well."""
    converted = np.round(_month(1) * factor + offset, digits)
    chances = {name: chance_of_return(DEGREES, converted, *item) for name, item in GUESSED_FAULTS.items()}
    mine = chance_of_return(DEGREES, converted, factor, offset)
    assert mine < 1e-6
    assert all(mine <= other for other in chances.values())
    # of 0.1 ft a digit less leaves nothing to tell by
    assert chance_of_return(DEGREES, np.round(_month(1) * 0.3048, 1), 0.3048) > 0.01


def test_months_as_they_were_do_not_look_converted():
    """Of 200 months by some 30 conversions none has less than the bound of one in a million, and few one in 100."""
    chances = np.array(
        [chance_of_return(DEGREES, _month(seed), *item) for seed in range(200) for item in GUESSED_FAULTS.values()]
    )
    assert chances.min() > 1e-6
    assert (chances < 0.01).mean() < 0.01


def test_a_scale_that_lies_on_another_is_no_evidence():
    """Whole tens are whole ones, too: that the values of a conversion are among those of training says nothing."""
    tens = np.arange(0.0, 370.0, 10.0)
    assert chance_of_return(tens, tens[3:20], 0.5) > 0.5
    assert chance_of_return(np.ones(5), tens, 2.0) == 1.0
    assert decimal_step(tens) == 1.0

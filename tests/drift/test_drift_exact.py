"""Laws of the exact statistics: scipy's values, symmetry, bounds, order, ties, infinities; compiled and in NumPy."""

from __future__ import annotations

import itertools
import mmap
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from mlcore.contract import Column, DataContract
from mlcore.drift import Baseline, DriftReport, build_baseline, detect_drift
from mlcore.drift.columns import category_counts
from mlcore.drift.reference import pack_reference, unpack_reference
from mlcore.drift.statistics import (
    compiled_merge,
    cramer_von_mises_p,
    cramers_v,
    distances,
    jensen_shannon,
    kolmogorov_smirnov_p,
    merge_by_numpy,
)
from mlcore.errors import DriftError
from mlcore.policy.monitoring import DriftPolicy

NUMBERS = st.floats(-1e6, 1e6, width=32) | st.integers(-3, 3).map(float)
SAMPLES = st.lists(NUMBERS, min_size=1, max_size=60).map(lambda values: np.sort(np.array(values, dtype=float)))
UNBOUNDED = st.lists(st.sampled_from([-np.inf, -1.0, 0.0, 2.0, np.inf]), min_size=1, max_size=20).map(
    lambda values: np.sort(np.array(values))
)
COUNTS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=8).filter(
    lambda pairs: min(np.sum(pairs, axis=0)) > 0
)


@given(SAMPLES, SAMPLES)
@settings(deadline=None)
def test_the_compiled_merge_equals_numpys(reference, window):
    """Ties, constants and single values included; the largest gap is an integer and the very same."""
    compiled, plain = compiled_merge()(reference, window), merge_by_numpy(reference, window)
    assert compiled[0] == plain[0]
    assert compiled == pytest.approx(plain, rel=1e-12, abs=0)


@pytest.mark.parametrize("round_to", [0, 1, 15])
@pytest.mark.parametrize("sizes", [(30_000, 20_000), (100_000, 50), (7, 40_000)])
def test_the_compiled_merge_equals_numpys_on_many_rows(round_to, sizes):
    """One side may end long before the other."""
    rng = np.random.default_rng(sizes[0])
    reference = np.sort(rng.normal(size=sizes[0]).round(round_to))
    window = np.sort(rng.normal(0.3, 2, size=sizes[1]).round(round_to))
    assert compiled_merge()(reference, window) == pytest.approx(merge_by_numpy(reference, window), rel=1e-12, abs=0)


@given(SAMPLES, SAMPLES)
@settings(deadline=None)
def test_distances_equal_scipys(reference, window):
    """Kolmogorov-Smirnov and Wasserstein with ties; Cramér-von Mises by its definition, with ties as well."""
    found = distances(reference, window)
    expected = stats.ks_2samp(reference, window, method="asymp")
    assert found.kolmogorov_smirnov == pytest.approx(expected.statistic, abs=1e-12)
    sizes = (len(reference), len(window))
    p_value = 1 if min(sizes) < 2 else expected.pvalue
    assert kolmogorov_smirnov_p(found.kolmogorov_smirnov, sizes) == pytest.approx(p_value, rel=1e-9, abs=1e-12)
    assert found.wasserstein == pytest.approx(stats.wasserstein_distance(reference, window), rel=1e-9, abs=1e-9)
    pooled = np.concatenate([reference, window])
    gaps = [np.searchsorted(sample, pooled, side="right") / len(sample) for sample in (reference, window)]
    defined = sizes[0] * sizes[1] / sum(sizes) ** 2 * ((gaps[0] - gaps[1]) ** 2).sum()
    assert found.cramer_von_mises == pytest.approx(defined, rel=1e-9, abs=1e-12)


@given(SAMPLES, SAMPLES, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_distances_are_symmetric_bounded_and_zero_for_the_same(reference, window, random):
    """A distance: the same both ways, nothing to itself, however often repeated; units scale only Wasserstein."""
    found, back = distances(reference, window), distances(window, reference)
    assert found == pytest.approx(back, rel=1e-12)
    assert 0 <= found.kolmogorov_smirnov <= 1
    assert found.cramer_von_mises <= len(reference) * len(window) / (len(reference) + len(window))
    assert distances(reference, np.repeat(reference, 3)) == (0, 0, 0)
    scaled = distances(reference * 4, window * 4)
    assert scaled == pytest.approx(found._replace(wasserstein=found.wasserstein * 4), rel=1e-12)


@given(UNBOUNDED, UNBOUNDED)
@settings(deadline=None)
def test_infinite_values_are_values(reference, window):
    """They have a place in the order; the area between is infinite just where their shares differ."""
    found = distances(reference, window)
    assert found.kolmogorov_smirnov == pytest.approx(stats.ks_2samp(reference, window, method="asymp").statistic)
    shares = [[(sample == value).mean() for value in (-np.inf, np.inf)] for sample in (reference, window)]
    assert np.isinf(found.wasserstein) == (not np.allclose(shares[0], shares[1]))
    assert not np.isnan(found.wasserstein)


@pytest.mark.parametrize("z", [0.3, 0.5, 0.8, 1.2, 1.48, 1.49, 2.0, 5.0, 15.0])
@pytest.mark.parametrize("size", [5, 80, 1000, 1001, 1003, 2500, 9_999])
def test_kolmogorov_smirnov_p_equals_scipys(size, z):
    """At every size and in every region of scipy's algorithm, to a relative 1e-9, far into the tail."""
    distance = min(1.0, z / np.sqrt(size))
    expected = stats.kstwo.sf(distance, size)
    assert kolmogorov_smirnov_p(distance, (2 * size, 2 * size)) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_kolmogorov_smirnov_p_equals_scipys_for_a_million_rows():
    """Where scipy adds half a million terms, a thousand are enough."""
    for distance in (0.0015, 0.0022, 0.01):
        expected = stats.kstwo.sf(distance, 500_000)
        assert kolmogorov_smirnov_p(distance, (1_000_000, 1_000_000)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("first", "second"), [(2, 3), (50, 80), (1000, 300), (10, 5000)])
def test_cramer_von_mises_equals_scipys_without_ties(seed, first, second):
    """Statistic and p-value; scipy's own p-value is noise where the true one is below 1e-9."""
    rng = np.random.default_rng(seed)
    a, b = np.sort(rng.normal(size=first)), np.sort(rng.normal(seed / 40, 1, size=second))
    expected = stats.cramervonmises_2samp(a, b, method="asymptotic")
    found = distances(a, b).cramer_von_mises
    assert found == pytest.approx(expected.statistic, rel=1e-9)
    assert cramer_von_mises_p(found, (first, second)) == pytest.approx(expected.pvalue, abs=1e-9)


def test_cramer_von_mises_p_falls_through_its_tail():
    """The two formulas meet: never rising, within [0, 1], and 1 for equal samples of a constant."""
    found = [cramer_von_mises_p(statistic, (500, 400)) for statistic in np.linspace(0, 8, 200)]
    assert found[0] == 1
    assert all(a >= b >= 0 for a, b in itertools.pairwise(found))
    assert found[-1] == pytest.approx(np.sqrt(2) * stats.chi2.sf(8 * np.pi**2, 1), rel=0.2)
    assert cramer_von_mises_p(distances(np.zeros(1000), np.zeros(100)).cramer_von_mises, (1000, 100)) == 1


@given(COUNTS)
def test_effects_of_counts_equal_scipys_and_are_bounded(pairs):
    """Jensen-Shannon to base 2, Cramér's V; alike both ways."""
    first, second = np.array(pairs).T
    assert jensen_shannon(first, second) == pytest.approx(jensenshannon(first, second, base=2), abs=1e-7)
    assert jensen_shannon(first, second) == pytest.approx(jensen_shannon(second, first), abs=1e-7)
    assert 0 <= cramers_v(first, second) <= 1
    table = np.array([first, second])[:, (first + second) > 0]
    if table.shape[1] > 1:
        expected = stats.contingency.association(table, method="cramer")
        assert cramers_v(first, second) == pytest.approx(expected, abs=1e-9)


CONTRACT = DataContract(
    task="regression",
    columns=(
        Column(name="a", type="number"),
        Column(name="steps", type="integer"),
        Column(name="kind", type="category"),
        Column(name="y", type="number", role="target"),
    ),
)


def _rows(count: int, seed: int, shift: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a = rng.normal(shift, size=count)
    a[rng.random(count) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "a": a,
            "steps": rng.poisson(3, count),
            "kind": rng.choice(["x", "y", None], count),
            "y": rng.normal(size=count),
        }
    )


def _report(baseline: Baseline, frame: pd.DataFrame, **options) -> DriftReport:
    return detect_drift(baseline, frame, frame["y"].to_numpy(), CONTRACT, DriftPolicy(), minimum_rows=1, **options)


def _baseline(frame: pd.DataFrame) -> Baseline:
    return build_baseline(frame, frame["y"].to_numpy(), CONTRACT)


def test_a_report_is_scipys_over_all_rows():
    """Missing values are dropped, on both sides; every figure is that of all the values, not of quantiles."""
    before, now = _rows(12_000, 0), _rows(9_000, 1, 0.04)
    report = _report(_baseline(before), now)
    by = {item.name: item for item in report.columns}
    for name, first, second in (
        ("a", before["a"].dropna(), now["a"].dropna()),
        ("steps", before["steps"], now["steps"]),
        ("prediction", before["y"], now["y"]),
    ):
        expected = stats.ks_2samp(first, second, method="asymp")
        assert by[name].statistic == pytest.approx(expected.statistic, abs=1e-12)
        assert by[name].p_value == pytest.approx(expected.pvalue, rel=1e-9)
        shift = stats.wasserstein_distance(first, second) / first.std(ddof=0)
        assert by[name].wasserstein == pytest.approx(shift, rel=1e-9)
    mises = stats.cramervonmises_2samp(before["a"].dropna(), now["a"].dropna(), method="asymptotic")
    assert by["a"].cramer_von_mises_p == pytest.approx(mises.pvalue, abs=1e-9)
    table = np.array([frame["kind"].value_counts()[["x", "y"]] for frame in (before, now)])
    chi = stats.chi2_contingency(table, correction=False)
    assert (by["kind"].statistic, by["kind"].p_value) == pytest.approx((chi.statistic, chi.pvalue), rel=1e-9)
    assert by["kind"].cramers_v == pytest.approx(stats.contingency.association(table, method="cramer"), rel=1e-9)
    assert report.exact


def test_order_of_rows_and_number_of_threads_change_nothing():
    """A report is a function of the values."""
    baseline, frame = _baseline(_rows(12_000, 0)), _rows(9_000, 1)
    shuffled = frame.sample(frac=1, random_state=0)
    assert _report(baseline, frame) == _report(baseline, shuffled) == _report(baseline, frame, threads=1)


def test_fewer_independent_rows_weaken_every_p_value():
    """Blocks keep the distances and raise the p-values."""
    baseline, frame = _baseline(_rows(12_000, 0)), _rows(9_000, 1, 0.2)
    whole, blocked = (
        _report(baseline, frame).columns[0],
        _report(replace(baseline, blocks=40), frame, blocks=30).columns[0],
    )
    assert (whole.statistic, whole.cramer_von_mises) == (blocked.statistic, blocked.cramer_von_mises)
    assert max(whole.p_value, whole.cramer_von_mises_p) < 1e-9
    assert min(blocked.p_value, blocked.cramer_von_mises_p) > 0.05


def test_without_the_reference_quantiles_do_and_the_report_says_so():
    """A baseline of old, or one too large to keep: nearly the same figures, not called exact."""
    baseline, frame = _baseline(_rows(30_000, 0)), _rows(9_000, 1, 0.1)
    data, reference = baseline.to_bytes(), baseline.reference_bytes()
    exact, rough = (_report(Baseline.from_bytes(data, kept), frame) for kept in (reference, b""))
    assert exact == _report(baseline, frame)
    assert (exact.to_json()["exact"], rough.to_json()["exact"]) == (True, False)
    assert [item.exact for item in rough.columns] == [False, False, True, False]
    assert rough.columns[0].statistic == pytest.approx(exact.columns[0].statistic, abs=2e-3)
    small = Baseline.from_bytes(_baseline(_rows(1_500, 0)).to_bytes())
    assert small.reference_bytes() == b""
    assert _report(small, frame).exact


def test_a_report_of_old_is_read():
    """Fields that came later are unknown there."""
    plain = _report(_baseline(_rows(500, 0)), _rows(500, 1)).to_json()
    later = {"jensen_shannon", "cramers_v", "cramer_von_mises", "cramer_von_mises_p", "exact"}
    columns = [{key: value for key, value in column.items() if key not in later} for column in plain["columns"]]
    again = DriftReport.from_json({**plain, "columns": columns})
    assert [item.exact for item in again.columns] == [None] * 4
    assert DriftReport.from_json(plain).to_json() == plain


def test_constant_missing_and_infinite_columns_have_figures_that_json_knows():
    """No NaN and no infinity reaches the ledger."""
    frame = _rows(9_000, 1)
    for first, second in ((0.0, 1.0), (0.0, np.nan), (np.nan, 0.0), (0.0, np.inf), (np.inf, 0.0)):
        with np.errstate(invalid="ignore"):
            baseline = _baseline(frame.assign(a=first))
        item = _report(baseline, frame.assign(a=second)).columns[0]
        figures = [item.statistic, item.p_value, item.psi, item.wasserstein, item.jensen_shannon, item.cramer_von_mises]
        assert all(figure is None or np.isfinite(figure) for figure in figures)
        assert (item.p_value < 1e-9) == (not np.isnan([first, second]).any())


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["b", "a", None, "b"], dtype=object),
        pd.Series(["b", "a", None, "b"], dtype="category"),
        pd.Series(["b", "a", None, "b"], dtype="string"),
        pd.Series([True, False, None, True], dtype="boolean"),
        pd.Series([1.0, 2.0, np.nan, 1.0]),
        pd.Series([1, "1", None, 1.5], dtype=object),
        pd.Series([f"{number // 2}" for number in range(2000)], dtype=object),  # no two rows share an object
        pd.Series(["b", "a"] * 5, dtype=object)[::-2],
        pd.Series([], dtype=object),
    ],
)
def test_categories_are_counted_by_their_text(column):
    """As pandas would, whatever holds them."""
    assert category_counts(column) == column.dropna().astype(str).value_counts().to_dict()


def test_a_reference_file_maps_into_memory_and_refuses_others(tmp_path):
    """Values come back bit for bit; narrow only where nothing is lost; foreign bytes have a clear error."""
    wide = np.sort(np.random.default_rng(0).normal(size=5001))
    columns = {"wide": wide, "narrow": np.arange(5000.0), "huge": np.array([-np.inf, 1e300]), "none": np.array([])}
    data = pack_reference(columns)
    path = tmp_path / "reference.bin"
    path.write_bytes(data)
    with path.open("rb") as file:
        again = unpack_reference(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    assert all(np.array_equal(again[name], values) for name, values in columns.items())
    assert (again["wide"].dtype, again["narrow"].dtype, again["huge"].dtype) == (np.float64, np.float32, np.float64)
    assert all(values.flags.aligned and not values.flags.writeable for values in again.values())
    assert pack_reference({}) == b"" and unpack_reference(b"") == {}
    for other in (b"hello", data[:-4096], data[8:]):
        with pytest.raises(DriftError, match="not a drift reference"):
            unpack_reference(other)
    baseline = _baseline(_rows(5_000, 0))
    with pytest.raises(DriftError, match="another baseline"):
        Baseline.from_bytes(baseline.to_bytes(), _baseline(_rows(4_000, 0)).reference_bytes())


def test_without_numba_the_answers_are_the_same():
    """A process that cannot import numba reports what this one does."""
    program = """
import sys
if sys.argv[1] == "without":
    sys.modules["numba"] = None
import numpy as np
from mlcore.drift.statistics import compiled_merge, distances
rng = np.random.default_rng(0)
print(compiled_merge() is None, *distances(np.sort(rng.normal(size=30_000)), np.sort(rng.normal(size=9_000))))
"""
    found = [
        subprocess.run([sys.executable, "-c", program, how], capture_output=True, text=True, check=True).stdout.split()
        for how in ("with", "without")
    ]
    assert [found[0][0], found[1][0]] == ["False", "True"]
    assert [float(x) for x in found[0][1:]] == pytest.approx([float(x) for x in found[1][1:]], rel=1e-12)

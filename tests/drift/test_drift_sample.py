"""What the baseline keeps of whole rows and of their clock."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd

from mlcore.drift import Baseline, build_baseline


def test_rows_stay_whole_and_survive_the_file(bikeshare, bikeshare_frame):
    """A drawn row is a row of the frame; a second draw is the same; target and time are in it."""
    winter = bikeshare_frame[bikeshare_frame["recorded_at"] < "2011-05-01"]
    kept = build_baseline(winter, winter["bikers"].to_numpy(), bikeshare.contract)
    again = Baseline.from_bytes(kept.to_bytes())
    times = pd.to_datetime(again.sample["recorded_at"], unit="us", utc=True)
    rows = winter.set_index("recorded_at").loc[times]
    assert len(times) == 2_000
    assert times.is_monotonic_increasing
    for name in ("temperature", "humidity", "bikers"):
        assert np.array_equal(again.sample[name], rows[name].to_numpy(dtype=np.float32))
    assert list(again.sample["weather"]) == list(rows["weather"])
    assert again.occupied == kept.occupied
    assert len(kept.occupied) == 168
    assert 0.9 < np.mean(kept.occupied) < 1  # the winter of 2011 lacks some hours
    assert kept.repeated_fraction == 0


def test_the_file_of_an_older_version_is_read(bikeshare, bikeshare_frame):
    """Baselines written before whole rows were kept: there is no sample, and nothing is claimed of the clock."""
    winter = bikeshare_frame[bikeshare_frame["recorded_at"] < "2011-03-01"]
    with np.load(io.BytesIO(build_baseline(winter, winter["bikers"].to_numpy(), bikeshare.contract).to_bytes())) as new:
        arrays = {name: new[name] for name in new if not name.startswith("sample:")}
    facts = json.loads(arrays["facts"].tobytes())
    del facts["occupied"], facts["repeated_fraction"]
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    old = Baseline.from_bytes(buffer.getvalue())
    assert (dict(old.sample), old.occupied, old.repeated_fraction) == ({}, (), None)
    assert old.numeric["temperature"].rows == len(winter)

"""Makes hourly.csv from the raw UCI table: one time stamp, physical units, no column that leaks the target.

The raw table scales its weather to fractions; UCI documents the formulas that are undone here. `casual` and
`registered` add up to the target, so they are left out. Run it from anywhere: ``python prepare.py``.

Source: Fanaee-T, H. (2013), Bike Sharing, UCI Machine Learning Repository, https://doi.org/10.24432/C5W894
(CC BY 4.0).
"""

from pathlib import Path

import pandas as pd

FOLDER = Path(__file__).parent / "data"


def prepare(raw: pd.DataFrame) -> pd.DataFrame:
    """Return the hourly table with the columns of usecase.yaml."""
    hours = pd.to_timedelta((raw["day"] - 1) * 24 + raw["hr"], unit="h")
    return pd.DataFrame(
        {
            "recorded_at": (pd.Timestamp("2011-01-01", tz="UTC") + hours).dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "holiday": raw["holiday"].astype(bool),
            "workingday": raw["workingday"].astype(bool),
            "weather": raw["weathersit"],
            "temperature": (raw["temp"] * 47 - 8).round(1),
            "feels_like": (raw["atemp"] * 66 - 16).round(1),
            "humidity": (raw["hum"] * 100).round(0),
            "wind_speed": (raw["windspeed"] * 67).round(1),
            "bikers": raw["bikers"],
        }
    )


if __name__ == "__main__":
    hourly = prepare(pd.read_csv(FOLDER / "raw_2011.csv"))
    hourly.to_csv(FOLDER / "hourly.csv", index=False)
    print(f"{FOLDER / 'hourly.csv'}: {len(hourly):,} rows")

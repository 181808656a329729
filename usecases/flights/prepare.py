"""Makes flights.parquet from the raw table of departures: what the timetable says, and how the flight ended.

Everything recorded at or after departure (`dep_time`, `dep_delay`, `arr_time`, `arr_delay`, `air_time`, `tailnum`) is
left out, or becomes the target. A flight counts as delayed when it arrives 15 minutes late or later, the limit of the
United States Department of Transportation, or is cancelled or diverted. The one flight within New York (EWR to LGA,
cancelled) is left out: it is no destination that a model should know.

Run it from anywhere: ``python prepare.py RAW.parquet``, with the table `flights` of nycflights13 (every departure from
New York in 2013).

Source: Wickham, H. (2021), nycflights13, https://github.com/tidyverse/nycflights13 (CC0), from the Bureau of
Transportation Statistics, https://www.transtats.bts.gov.
"""

import sys
from pathlib import Path

import pandas as pd

PREPARED = Path(__file__).parent / "data" / "flights.parquet"
LATE_MINUTES = 15
NEW_YORK = ("EWR", "JFK", "LGA")


def prepare(raw: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the columns of usecase.yaml, in the order of departure."""
    raw = raw[~raw["dest"].isin(NEW_YORK)]
    arrival = raw["arr_delay"]
    day = pd.to_datetime(raw[["year", "month", "day"]]).dt.strftime("%Y%m%d")
    prepared = pd.DataFrame(
        {
            "flight_id": day + "-" + raw["carrier"] + raw["flight"].astype(str) + "-" + raw["origin"],
            "scheduled_departure": raw["time_hour"] + pd.to_timedelta(raw["minute"].astype("int64"), unit="min"),
            "carrier": raw["carrier"],
            "origin": raw["origin"],
            "destination": raw["dest"],
            "distance": raw["distance"].astype(float),
            # New York's clock: UTC moves against the timetable when summer time begins
            "departure_hour": raw["hour"].astype("int64"),
            "arrival_hour": raw["sched_arr_time"].astype("int64") // 100,
            "departures_in_hour": raw.groupby(["origin", "time_hour"])["flight"].transform("size"),
            "delayed": arrival.isna() | (arrival >= LATE_MINUTES).fillna(True).astype(bool),
        }
    )
    return prepared.sort_values(["scheduled_departure", "flight_id"], ignore_index=True)


if __name__ == "__main__":
    flights = prepare(pd.read_parquet(sys.argv[1]))
    flights.to_parquet(PREPARED, index=False, compression="zstd", compression_level=19)
    print(f"{PREPARED}: {len(flights):,} rows, {flights['delayed'].mean():.1%} delayed")

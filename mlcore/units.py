"""What numbers may have been converted by on their way: other units, other scales."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

#: What the values of a wrong unit were multiplied by, and what was added, for each unit a contract may name.
UNIT_FAULTS: Final[Mapping[str, Mapping[str, tuple[float, float]]]] = {
    "°C": {"in Fahrenheit, not Celsius": (1.8, 32.0), "in Kelvin, not Celsius": (1.0, 273.15)},
    "°F": {"in Celsius, not Fahrenheit": (1 / 1.8, -32.0 / 1.8)},
    "K": {"in Celsius, not Kelvin": (1.0, -273.15)},
    "m": {"in feet, not metres": (3.28084, 0.0), "in kilometres, not metres": (0.001, 0.0)},
    "ft": {"in metres, not feet": (1 / 3.28084, 0.0)},
    "km": {"in miles, not kilometres": (0.621371, 0.0), "in metres, not kilometres": (1000.0, 0.0)},
    "km/h": {
        "in miles per hour": (0.621371, 0.0),
        "in metres per second": (1 / 3.6, 0.0),
        "in knots": (0.539957, 0.0),
    },
    "m/s": {"in kilometres per hour": (3.6, 0.0), "in miles per hour": (2.236936, 0.0)},
    "mph": {"in kilometres per hour": (1.609344, 0.0)},
    "mi": {"in kilometres, not miles": (1.609344, 0.0), "in nautical miles, not miles": (0.868976, 0.0)},
    "kg": {"in pounds, not kilograms": (2.204623, 0.0), "in grams, not kilograms": (1000.0, 0.0)},
    "lb": {"in kilograms, not pounds": (1 / 2.204623, 0.0)},
    "%": {"a fraction, not percent": (0.01, 0.0)},
    "mm": {"in inches, not millimetres": (1 / 25.4, 0.0), "in centimetres, not millimetres": (0.1, 0.0)},
    "cm": {"in inches, not centimetres": (1 / 2.54, 0.0), "in metres, not centimetres": (0.01, 0.0)},
    "hPa": {
        "in inches of mercury": (0.02953, 0.0),
        "in millimetres of mercury": (0.750062, 0.0),
        "in kilopascals, not hectopascals": (0.1, 0.0),
        "in pascals, not hectopascals": (100.0, 0.0),
    },
    "bar": {"in pounds per square inch": (14.50377, 0.0), "in kilopascals, not bar": (100.0, 0.0)},
    "psi": {"in bar": (0.0689476, 0.0), "in kilopascals": (6.894757, 0.0)},
    "kW": {"in watts, not kilowatts": (1000.0, 0.0), "in megawatts, not kilowatts": (0.001, 0.0)},
    "MW": {"in kilowatts, not megawatts": (1000.0, 0.0), "in gigawatts, not megawatts": (0.001, 0.0)},
    "h": {"in minutes, not hours": (60.0, 0.0), "in seconds, not hours": (3600.0, 0.0)},
    "l": {"in gallons, not litres": (0.264172, 0.0)},
    "s": {"in milliseconds, not seconds": (1000.0, 0.0), "in minutes, not seconds": (1 / 60, 0.0)},
    "min": {"in seconds, not minutes": (60.0, 0.0), "in hours, not minutes": (1 / 60, 0.0)},
}
#: What goes wrong with a number whatever its unit.
SCALE_FAULTS: Final[Mapping[str, tuple[float, float]]] = {
    "ten times too large": (10.0, 0.0),
    "ten times too small": (0.1, 0.0),
    "a hundred times too large": (100.0, 0.0),
    "a hundred times too small": (0.01, 0.0),
    "a thousand times too large": (1000.0, 0.0),
    "a thousand times too small": (0.001, 0.0),
    "of the opposite sign": (-1.0, 0.0),
}
#: What a column whose unit the contract does not name, or of which nothing is known, may have been converted by: less
#: likely than the others, and believed on stronger evidence.
GUESSED_FAULTS: Final[Mapping[str, tuple[float, float]]] = {
    "1.8 times what it was and 32 more, as Fahrenheit for Celsius": (1.8, 32.0),
    "as Celsius for Fahrenheit": (1 / 1.8, -32.0 / 1.8),
    "273.15 more than it was, as Kelvin for Celsius": (1.0, 273.15),
    "273.15 less than it was, as Celsius for Kelvin": (1.0, -273.15),
    **{
        f"{factor:.4g} times what it was, as {told}": (factor, 0.0)
        for factor, told in (
            (3.6, "km/h for m/s"),
            (1 / 3.6, "m/s for km/h"),
            (1.609344, "km for miles"),
            (0.621371, "miles for km"),
            (2.236936, "mph for m/s"),
            (0.44704, "m/s for mph"),
            (1.852, "km for nautical miles"),
            (0.539957, "knots for km/h"),
            (1.943844, "knots for m/s"),
            (0.514444, "m/s for knots"),
            (2.54, "cm for inches"),
            (1 / 2.54, "inches for cm"),
            (25.4, "mm for inches"),
            (1 / 25.4, "inches for mm"),
            (3.28084, "feet for metres"),
            (0.3048, "metres for feet"),
            (2.204623, "pounds for kg"),
            (0.453592, "kg for pounds"),
            (3.785412, "litres for gallons"),
            (0.264172, "gallons for litres"),
            (33.8639, "hPa for inches of mercury"),
            (0.02953, "inches of mercury for hPa"),
            (60.0, "seconds for minutes"),
            (1 / 60, "minutes for seconds"),
        )
    },
}


def conversions(unit: str) -> Iterator[tuple[str, float, float]]:
    """Yield what a column's values may have been converted by: confusions of its unit, and what befalls any number.

    Parameters
    ----------
    unit : str
        As the contract names it; empty where it doesn't.

    Yields
    ------
    tuple of str, float, float
        What the values then are, what they were multiplied by, and what was added.
    """
    units = UNIT_FAULTS.get(unit, {})
    for name, (factor, offset) in {**units, **SCALE_FAULTS}.items():
        if name in units or (factor, offset) not in units.values():
            yield name, factor, offset

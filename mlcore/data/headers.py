"""What the header of a column says of its values: the unit."""

from __future__ import annotations

import re
from typing import Final

#: Ways to write a unit, in lower case and without blanks, for each unit as contracts have it.
_WRITTEN: Final = {
    "°C": ("°c", "ºc", "degc", "degreesc", "celsius", "centigrade", "deg_c"),
    "°F": ("°f", "ºf", "degf", "degreesf", "fahrenheit", "deg_f"),
    "K": ("kelvin", "degk"),
    "%": ("%", "pct", "percent", "perc", "percentage"),
    "km/h": ("km/h", "kmh", "kph", "kmph", "km_h", "kmperhour"),
    "m/s": ("m/s", "m_s", "mps", "ms-1", "m/sec"),
    "mph": ("mph", "mi/h", "miles/h"),
    "mm/s": ("mm/s", "mm_s"),
    "m³/h": ("m3/h", "m³/h", "m3h", "m3_h"),
    "kn": ("knots", "knot", "kt", "kts", "kn"),
    "km": ("km", "kilometers", "kilometres"),
    "mi": ("mi", "miles"),
    "m": ("meters", "metres", "meter", "metre"),
    "cm": ("cm",),
    "mm": ("mm",),
    "ft": ("ft", "feet"),
    "in": ("inches",),
    "kg": ("kg", "kilograms"),
    "lb": ("lb", "lbs", "pounds"),
    "g": ("grams",),
    "hPa": ("hpa", "mbar", "mb", "millibar"),
    "kPa": ("kpa",),
    "bar": ("bar",),
    "psi": ("psi",),
    "s": ("sec", "secs", "second", "seconds"),
    "min": ("mins", "minute", "minutes"),
    "h": ("hrs", "hours"),
    "ms": ("msec", "millis", "milliseconds"),
    "W": ("watt", "watts"),
    "kW": ("kw",),
    "MW": ("mw", "megawatt", "megawatts"),
    "GW": ("gw",),
    "Wh": ("wh",),
    "kWh": ("kwh",),
    "MWh": ("mwh",),
    "W/m²": ("w/m2", "w/m²", "w/m^2", "w_m2", "wm2", "wm-2"),
    "$/MWh": ("$/mwh", "usd/mwh", "aud/mwh"),
    "€/MWh": ("€/mwh", "eur/mwh"),
    "µg/m³": ("µg/m3", "ug/m3", "µg/m³", "μg/m3", "μg/m³", "ug_m3"),
    "mg/m³": ("mg/m3", "mg/m³", "mg/m^3"),
    "ppm": ("ppm",),
    "ppb": ("ppb",),
    "V": ("volt", "volts"),
    "A": ("amps", "ampere"),
    "Hz": ("hz",),
    "rpm": ("rpm", "1/min"),
    "l": ("liters", "litres"),
    "GB": ("gb",),
    "MB": ("mib",),
    "EUR": ("eur", "€"),
    "USD": ("usd", "$", "us$"),
    "GBP": ("gbp", "£"),
}  # fmt: skip
_UNITS: Final = {written: unit for unit, ways in _WRITTEN.items() for written in ways}
#: Letters that are a unit where they stand in brackets; `(s)` without a blank before it is a plural.
_LETTERS: Final = {"c": "°C", "f": "°F", "k": "K", "m": "m", "s": "s", "g": "g", "h": "h", "v": "V", "a": "A", "w": "W",
                   "min": "min", "ms": "ms", "l": "l", "in": "in"}  # fmt: skip
_TEMPERATURE: Final = re.compile(
    r"temp|dew|chill|heat|feel|bulb|^t(pot|dew|max|min|air|out|in|amb|wet|dry)?([_ (\[]|$)", re.IGNORECASE
)
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SPEED: Final = re.compile(r"speed|spd|wind|gust|veloc", re.IGNORECASE)


def unit_of(header: str) -> str:
    """Return the unit that a column's header names, in brackets or at its end; empty where it names none.

    A single letter is one in brackets, and behind the name of a temperature.

    Examples
    --------
    >>> [unit_of(header) for header in ("temp_C", "Speed (km/h)", "Humidity %", "trip_seconds", "temp_min", "CO(GT)")]
    ['°C', 'km/h', '%', 's', '', '']
    """
    for before, inside in re.findall(r"(.?)[(\[]([^()\[\]]{1,14})[)\]]", header):
        plain = inside.strip().rstrip(".").replace(" ", "").lower()
        unit = _UNITS.get(plain) or _temperature(header, plain)
        if not unit and (before in " _" or plain != "s") and plain not in ("c", "f", "k"):
            unit = _LETTERS.get(plain, "")
        if unit:
            return _of_speed(header, unit)
    if "%" in header:
        return "%"
    parts = [part.lower() for part in re.split(r"[\s_\-.,]+", header.strip()) if part]
    return _last(header, parts) or _last(header, [part.lower() for part in re.split(_HUMP, header.strip())])


def is_temperature(header: str) -> bool:
    """Whether a column is of temperatures, which go below zero whatever the rows at hand do."""
    return bool(_TEMPERATURE.search(header)) or unit_of(header) in ("°C", "°F")


def _last(header: str, parts: list[str]) -> str:
    if len(parts) < 2:
        return ""
    two = f"{parts[-2]}_{parts[-1]}"
    # m_s ends the name of a speed, and otherwise two words
    unit = _UNITS.get(two, "") if len(parts) > 2 and (two != "m_s" or _SPEED.search(header)) else ""
    found = unit or _UNITS.get(parts[-1]) or _temperature(header, parts[-1])
    return "m/s" if not found and parts[-1] == "ms" and _SPEED.search(header) else found


def _temperature(header: str, letter: str) -> str:
    return _LETTERS[letter] if letter in ("c", "f", "k") and _TEMPERATURE.search(header) else ""


def _of_speed(header: str, unit: str) -> str:
    return "m/s" if unit == "ms" and _SPEED.search(header) else unit

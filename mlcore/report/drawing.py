"""How every picture is drawn: palette, data, and one look that is readable on a light and on a dark page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import altair as alt

#: Okabe & Ito (2008), for colour-vision deficiencies; without yellow and black, one of which vanishes on any page.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
GREY: Final = "#8A94A3"
#: What is drawn in this colour takes the colour of the page's text.
INK: Final = "#010203"
WIDTH: Final = 880
_FONT: Final = "system-ui, -apple-system, 'Segoe UI', sans-serif"


def data(items: Sequence[Any]) -> alt.Data:
    """Return frozen records as inline data; times in UTC."""
    import altair as alt

    return alt.Data(values=[{name: _plain(value) for name, value in asdict(item).items()} for item in items])


def values(rows: Sequence[Mapping[str, Any]]) -> alt.Data:
    """Return rows as inline data; times in UTC."""
    import altair as alt

    return alt.Data(values=[{name: _plain(value) for name, value in row.items()} for row in rows])


def time_axis(**options: Any) -> dict[str, Any]:
    """Return what an encoding of time needs to be drawn in UTC wherever the machine is."""
    import altair as alt

    return {
        "scale": alt.Scale(type="utc", nice=False),
        "axis": alt.Axis(labelOverlap="greedy", labelSeparation=14, grid=False, **options),
    }


def svg(chart: alt.Chart | alt.LayerChart | alt.HConcatChart) -> str:
    """Return the picture: no background, text in the colour of the page."""
    import vl_convert

    look = {"labelColor": INK, "titleColor": INK, "labelFont": _FONT, "titleFont": _FONT}
    spec = chart.to_dict(validate=False)
    spec["background"] = None
    # a browser's font may be wider than the one that this was measured with
    spec["padding"] = {"left": 24, "right": 24, "top": 6, "bottom": 6}
    spec["config"] = {
        "axis": {
            **look,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "labelLimit": 260,
            "domainColor": GREY,
            "tickColor": GREY,
            "gridColor": GREY,
            "gridOpacity": 0.25,
        },
        "legend": {**look, "labelFontSize": 12, "labelLimit": 320, "columnPadding": 28},
        "title": {"color": INK, "font": _FONT, "subtitleColor": GREY, "subtitleFont": _FONT, "anchor": "start"},
        "text": {"color": INK, "font": _FONT},
        "view": {"stroke": None},
    }
    return str(vl_convert.vegalite_to_svg(json.dumps(spec))).replace(INK, "currentColor")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value

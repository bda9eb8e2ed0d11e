"""The charts, as Vega-Lite specifications whose rows are filled in later. The door to vl-convert.

Texts and rules take the colour of the page around them, so that one specification serves light, dark and paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from ttsd.record.store import Row
from ttsd.reporting.report.record import Cost

Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.4.1.json"
ROWS = "rows"  # the name of every chart's data set
SHARES = {"domain": [0, 1]}
COLOURS = (
    "#d1495b", "#edae49", "#3d7dca", "#2a9d8f", "#9b5de5", "#8d6e63", "#6c757d", "#f28ab2", "#111827", "#84cc16",
    "#0891b2", "#7f1d1d",
)  # fmt: skip
FEW = 4  # methods whose bands can be distinguished
UNITS: dict[Cost, str] = {
    "attempts": "k, attempts per run",
    "rounds": "rounds per run (waits for verdicts)",
    "tokens": "tokens per run (prompt + completion)",
    "seconds": "seconds per run (wall clock of its steps)",
}

INK = "currentColor"
CONFIG: Spec = {
    "font": "system-ui, sans-serif",
    "axis": {
        **dict.fromkeys(("labelColor", "titleColor", "domainColor", "tickColor", "gridColor"), INK),
        **dict.fromkeys(("domainOpacity", "tickOpacity"), 0.4),
        "gridOpacity": 0.1,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "legend": {"labelColor": INK, "labelFontSize": 12, "labelLimit": 240},
    "title": {"color": INK},
    "view": {"stroke": None},
}

# Learning curve -> its title with unit.
PANELS: dict[str, str] = {
    "visible_fraction": "visible cases passed (share)",
    "loss": "loss (nats per token)",
    "entropy": "student entropy (nats per token)",
    "kl_teacher": "divergence from teacher (nats per token)",
    "kl_base": "KL to base (nats per token)",
    "grad_norm": "gradient norm",
    "completion_tokens": "completion length (tokens)",
    "distinct_programs": "distinct programs (share)",
}


def discovery_chart(methods: Sequence[str], cost: Cost, *, width: int | str = "container") -> Spec:
    """Shows pooled discovery against a cost: a line and a band a method, its values under the pointer, and a legend."""
    y, strength = "discovered (probability)", 0.16 if len(methods) <= FEW else 0.05
    legend = {"orient": "top", "columns": 2, "symbolType": "stroke", "symbolStrokeWidth": 3, "symbolOpacity": 1}
    layers = [
        {"name": "bands", **_band(y, opacity=_where("chosen", strength, 0.02))},
        _line(y, 2.5, opacity=_where("chosen", 1, 0.12)),
        {"name": "dots", **_dots(y, cost, {"size": 70}, opacity=_where("near", 1, 0, empty=False))},
    ]
    near = {"type": "point", "fields": ["at"], "nearest": True, "on": "pointerover", "clear": "pointerout"}
    chosen = {"name": "chosen", "select": {"type": "point", "fields": ["method"]}, "bind": "legend", "views": ["bands"]}
    params = [{"name": "near", "select": near, "views": ["dots"]}, chosen]
    return _spec({"layer": layers, "encoding": _shared(methods, UNITS[cost], legend), "params": params}, 320, width)


def question_chart(methods: Sequence[str]) -> Spec:
    """Shows one question's discovery against attempts, small."""
    y, dots = "probability", {"size": 80, "opacity": 0}
    layers = [_band(y, {"opacity": 0.12}), _line(y, 2), _dots(y, "attempts", dots)]
    return _spec({"layer": layers, "encoding": _shared(methods, UNITS["attempts"], None)}, 130)


def learning_chart(name: str) -> Spec:
    """Shows one quantity of a run's learning curve against its attempts."""
    share = PANELS[name].endswith("(share)")
    axis = {"tickCount": 4, "format": ".0%" if share else "~g"}
    encoding = {
        "x": _number("attempt", "attempt", axis={"tickCount": 4, "tickMinStep": 1, "format": "~s"}),
        "y": _number(name, None, scale=SHARES if share else {"zero": False}, axis=axis),
        "tooltip": [_number("attempt", "up to attempt"), _number(name, PANELS[name], format=".4~g")],
    }
    mark = {"type": "line", "point": {"size": 22}, "color": COLOURS[2], "strokeWidth": 1.5}
    title = {"text": PANELS[name], "anchor": "start", "fontSize": 11, "fontWeight": "normal"}
    return _spec({"mark": mark, "encoding": encoding, "title": title}, 90)


def static_images(spec: Spec, rows: Sequence[Row]) -> tuple[str, bytes]:
    """Returns the chart as SVG text and as a PNG on white."""
    import vl_convert

    whole = filled(spec, rows) | {"background": "white"}
    svg: str = vl_convert.vegalite_to_svg(whole)
    png: bytes = vl_convert.svg_to_png(svg, scale=2)
    return svg, png


def filled(spec: Spec, rows: Sequence[Row]) -> Spec:
    return spec | {"datasets": {ROWS: list(rows)}}


@cache
def scripts() -> str:
    """Returns Vega, Vega-Lite and vega-embed as one script that needs no network; it sets `window.vegaEmbed`."""
    import vl_convert

    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle


def _shared(methods: Sequence[str], title: str, legend: Spec | None) -> Spec:
    """Returns what all layers of a discovery chart have in common: costs to the right, a colour a method."""
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(methods))]
    axis = {"format": "~s", "labelOverlap": "greedy", "labelSeparation": 6, "tickCount": 20, "grid": False}
    color = {"field": "method", "type": "nominal", "title": None, "legend": legend}
    return {
        "x": _number("at", title, scale={"type": "log", "nice": False}, axis=axis),
        "color": color | {"scale": {"domain": list(methods), "range": colours}},
    }


def _band(title: str, mark: Spec | None = None, **encoding: Any) -> Spec:
    y = {"y": _share("low", title), "y2": {"field": "high"}}
    return {"mark": {"type": "area", "interpolate": "step-after", **(mark or {})}, "encoding": y | encoding}


def _line(title: str, width: float, **encoding: Any) -> Spec:
    mark = {"type": "line", "interpolate": "step-after", "strokeWidth": width}
    return {"mark": mark, "encoding": {"y": _share("discovery", title), **encoding}}


def _dots(title: str, cost: Cost, mark: Spec, **encoding: Any) -> Spec:
    """Returns the points that show their values under the pointer."""
    tooltip = [
        {"field": "method", "type": "nominal", "title": "method"},
        _number("at", cost, format=",.0f"),
        _number("discovery", "discovery", format=".1%"),
        _number("low", "90 % interval from", format=".1%"),
        _number("high", "to", format=".1%"),
    ]
    y = {"y": _share("discovery", title), "tooltip": tooltip}
    return {"mark": {"type": "point", "filled": True, **mark}, "encoding": y | encoding}


def _share(field: str, title: str) -> Spec:
    return _number(field, title, scale=SHARES, axis={"format": ".0%", "tickCount": 5})


def _number(field: str, title: str | None, **options: Any) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, **options}


def _where(param: str, value: float, otherwise: float, **options: Any) -> Spec:
    return {"condition": {"param": param, "value": value, **options}, "value": otherwise}


def _spec(chart: Spec, height: int, width: int | str = "container") -> Spec:
    whole = {"$schema": SCHEMA, "data": {"name": ROWS}, "width": width, "height": height}
    return whole | chart | {"background": "transparent", "config": CONFIG}

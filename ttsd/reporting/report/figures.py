"""The charts, as Vega-Lite specifications whose rows are filled in later. The door to altair and vl-convert.

Texts and rules take the colour of the page around them, so that one specification serves light, dark and paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ttsd.record.store import Row
from ttsd.reporting.report.record import Cost

if TYPE_CHECKING:
    import altair as alt

Spec = dict[str, Any]

ROWS = "rows"  # the name of every chart's data set
COLOURS = (
    "#d1495b", "#edae49", "#3d7dca", "#2a9d8f", "#9b5de5", "#8d6e63", "#6c757d", "#f28ab2", "#111827", "#84cc16",
    "#0891b2", "#7f1d1d",
)  # fmt: skip
FEW = 4  # methods whose bands can be distinguished
UNITS: dict[Cost, str] = {
    "attempts": "attempts per run (k)",
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


def discovery_chart(methods: Sequence[str], cost: Cost, *, height: int = 320, width: int | str = "container") -> Spec:
    """Shows pooled discovery against a cost: a line and a band a method, the values under the pointer, a clickable
    legend.
    """
    import altair as alt

    chosen = alt.selection_point(fields=["method"], bind="legend", name="chosen")
    near = alt.selection_point(
        fields=["at"], nearest=True, on="pointerover", clear="pointerout", empty=False, name="near"
    )
    shown = alt.when(chosen).then(alt.value(1)).otherwise(alt.value(0.12))
    base = _base(methods, UNITS[cost])
    strength = 0.16 if len(methods) <= FEW else 0.05
    band = base.mark_area(interpolate="step-after").encode(
        y=_share("low"), y2="high:Q", opacity=alt.when(chosen).then(alt.value(strength)).otherwise(alt.value(0.02))
    )
    line = base.mark_line(interpolate="step-after", strokeWidth=2.5).encode(y=_share("discovery"), opacity=shown)
    dot = base.mark_point(filled=True, size=70).encode(
        y=_share("discovery"), tooltip=_tooltip(cost), opacity=alt.when(near).then(alt.value(1)).otherwise(alt.value(0))
    )
    return _spec(alt.layer(band, line, dot.add_params(near)).add_params(chosen), width=width, height=height)


def question_chart(methods: Sequence[str]) -> Spec:
    """Shows one question's discovery against attempts, small."""
    import altair as alt

    title = "probability"
    base = _base(methods, "attempts per run (k)", legend=False)
    band = base.mark_area(interpolate="step-after", opacity=0.12).encode(y=_share("low", title), y2="high:Q")
    line = base.mark_line(interpolate="step-after", strokeWidth=2).encode(y=_share("discovery", title))
    dot = base.mark_point(filled=True, size=80, opacity=0).encode(
        y=_share("discovery", title), tooltip=_tooltip("attempts")
    )
    return _spec(alt.layer(band, line, dot), height=130)


def learning_chart(name: str) -> Spec:
    """Shows one quantity of a run's learning curve against its attempts."""
    import altair as alt

    share = PANELS[name].endswith("(share)")
    scale = alt.Scale(domain=[0, 1]) if share else alt.Scale(zero=False)
    line = (
        alt.Chart(alt.NamedData(name=ROWS))
        .mark_line(point={"size": 22}, color=COLOURS[2], strokeWidth=1.5)
        .encode(
            x=alt.X("attempt:Q", title="attempt", axis=alt.Axis(tickCount=4, tickMinStep=1, format="~s")),
            y=alt.Y(f"{name}:Q", title=None, scale=scale, axis=alt.Axis(tickCount=4, format=".0%" if share else "~g")),
            tooltip=[
                alt.Tooltip("attempt:Q", title="up to attempt"),
                alt.Tooltip(f"{name}:Q", title=PANELS[name], format=".4~g"),
            ],
        )
        .properties(title=alt.Title(PANELS[name], anchor="start", fontSize=11, fontWeight="normal"))
    )
    return _spec(line, height=90)


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


def _base(methods: Sequence[str], title: str, *, legend: bool = True) -> alt.Chart:
    import altair as alt

    colours = [COLOURS[place % len(COLOURS)] for place in range(len(methods))]
    return alt.Chart(alt.NamedData(name=ROWS)).encode(
        x=alt.X(
            "at:Q",
            title=title,
            scale=alt.Scale(type="log", nice=False),
            axis=alt.Axis(format="~s", labelOverlap=True, labelSeparation=6, tickCount=6, grid=False),
        ),
        color=alt.Color(
            "method:N",
            title=None,
            scale=alt.Scale(domain=list(methods), range=colours),
            legend=alt.Legend(orient="top", columns=2, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1)
            if legend
            else None,
        ),
    )


def _share(name: str, title: str = "discovered (probability)") -> alt.Y:
    import altair as alt

    axis = alt.Axis(format=".0%", tickCount=5)
    return alt.Y(f"{name}:Q", title=title, scale=alt.Scale(domain=[0, 1]), axis=axis)


def _tooltip(cost: Cost) -> list[alt.Tooltip]:
    import altair as alt

    return [
        alt.Tooltip("method:N", title="method"),
        alt.Tooltip("at:Q", title=cost, format=",.0f"),
        alt.Tooltip("discovery:Q", title="discovery", format=".1%"),
        alt.Tooltip("low:Q", title="90 % interval from", format=".1%"),
        alt.Tooltip("high:Q", title="to", format=".1%"),
    ]


def _spec(chart: alt.Chart | alt.LayerChart | alt.FacetChart, *, height: int, width: int | str = "container") -> Spec:
    whole: Spec = chart.properties(width=width, height=height).to_dict(validate=False)
    return whole | {"background": "transparent", "config": CONFIG}

"""The charts of a page in Bokeh's terms: points on a map and on the sky, and a spectrum."""

from contextlib import suppress

import numpy as np
from bokeh.events import RangesUpdate, Reset, SelectionGeometry, Tap
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, LassoSelectTool, Range1d
from bokeh.plotting import figure

from astroclip_astro.errors import InputError
from astroclip_astro.explorer.raster import limits, raster
from astroclip_astro.explorer.view import checked_window
from astroclip_astro.plot.lines import apart, observed
from astroclip_astro.plot.style import BLUE, ORANGE

__all__ = ["Points", "Spectrum"]

_SIZE = (700, 520)  # pixels, until the page says how large the chart is
_LARGEST = 1600
_MARK = "#d4006a"
_NO_LINES = {"x": [], "name": [], "place": [], "top": []}
_APART = 0.035  # of the wavelengths shown, between names of lines
_ROOM = 0.35  # of the fluxes, above them, for the names


class Points:
    """Points that can be moved over, zoomed, tapped and outlined.

    Parameters
    ----------
    tapped : callable
        Called with x, y and the sizes of a pixel in x and in y.
    moved : callable
        Called with the new window.
    outlined : callable, optional
        Called with the x and y of corners.
    title : str
        What it is, to those who do not see it.
    labels : tuple of str
        Of the axes; none are drawn if they are empty.
    flipped : bool
        Whether x rises to the left.

    Attributes
    ----------
    figure : bokeh.plotting.figure
        The chart.
    size : tuple of int
        Pixels across and down.
    """

    def __init__(self, tapped, moved, outlined=None, *, title, labels=("", ""), flipped=False):
        self._tapped, self._moved, self._flipped = tapped, moved, flipped
        self._outlined = outlined
        tools = "pan,wheel_zoom,box_zoom,reset" + (",lasso_select" if outlined else "")
        self.figure = figure(
            tools=tools,
            active_scroll="wheel_zoom",
            active_drag="pan",
            x_range=Range1d(0, 1),
            y_range=Range1d(0, 1),
            x_axis_label=labels[0],
            y_axis_label=labels[1],
            sizing_mode="stretch_both",
            min_height=200,
            output_backend="canvas",
            toolbar_location="right",
            lod_threshold=None,
        )
        self.figure.name = title
        self.figure.toolbar.logo = None
        self.figure.outline_line_color = "#8a8a8a"
        self.figure.grid.visible = bool(labels[0])
        self.figure.axis.visible = bool(labels[0])
        if outlined:
            self.figure.select_one(LassoSelectTool).continuous = False
        self._picture = ColumnDataSource({name: [] for name in ("image", "x", "y", "dw", "dh")})
        self.figure.image_rgba("image", x="x", y="y", dw="dw", dh="dh", source=self._picture)
        self._outline = ColumnDataSource({"x": [], "y": []})
        self.figure.patch(
            "x", "y", source=self._outline, fill_alpha=0, line_color="#111111", line_width=2,
            line_dash="dashed",
        )  # fmt: skip
        self._mark = ColumnDataSource({"x": [], "y": []})
        self.figure.scatter(
            "x", "y", source=self._mark, size=16, marker="circle_cross", line_color=_MARK,
            line_width=3, fill_alpha=0,
        )  # fmt: skip
        self._around = ColumnDataSource({"x": [], "y": []})
        self.figure.scatter(
            "x", "y", source=self._around, size=9, marker="circle", line_color=_MARK,
            line_width=2, fill_alpha=0,
        )  # fmt: skip
        self._drawn = None
        self.size = _SIZE
        self.figure.on_change("inner_width", self._on_size)
        self.figure.on_change("inner_height", self._on_size)
        self.figure.on_event(Tap, self._on_tap)
        self.figure.on_event(RangesUpdate, self._on_ranges)
        self.figure.on_event(Reset, lambda event: self._moved(()))
        if outlined:
            self.figure.on_event(SelectionGeometry, self._on_selection)

    @property
    def window(self):
        """Lower and upper limits of x and of y (tuple of float)."""
        x, y = self.figure.x_range, self.figure.y_range
        return (*sorted((x.start, x.end)), *sorted((y.start, y.end)))

    def draw(self, x, y, *, window, shown, chosen, colouring):
        """Show points.

        Parameters
        ----------
        x, y : numpy.ndarray
            Shape (n,).
        window : tuple of float
            Of the plane; () for that of all that is shown.
        shown, chosen : numpy.ndarray
            As for `raster`.
        colouring : Colouring or None
            As for `raster`.
        """
        self._drawn = {"x": x, "y": y, "shown": shown, "chosen": chosen, "colouring": colouring}
        self._set(window or limits(x, y, shown))
        self.redraw()

    def redraw(self):
        """Draw the same again, for the window and the size that there are now."""
        if self._drawn is None:
            return
        window = self.window
        self._picture.data = {
            "image": [raster(**self._drawn, window=window, size=self.size)],
            "x": [window[0]],
            "y": [window[2]],
            "dw": [window[1] - window[0]],
            "dh": [window[3] - window[2]],
        }

    def mark(self, one, around):
        """Show where something is.

        Parameters
        ----------
        one : tuple of float or None
            What is looked at.
        around : sequence of tuple of float
            Its neighbours.
        """
        known = [at for at in around if np.isfinite(at).all()]
        self._around.data = {name: [at[i] for at in known] for i, name in enumerate("xy")}
        there = one is not None and np.isfinite(one).all()
        self._mark.data = {name: [one[i]] if there else [] for i, name in enumerate("xy")}

    def outline(self, corners):
        """Show what is selected.

        Parameters
        ----------
        corners : sequence of tuple of float
            None if it is everything.
        """
        self._outline.data = {name: [at[i] for at in corners] for i, name in enumerate("xy")}

    def _set(self, window):
        x, y = self.figure.x_range, self.figure.y_range
        low, high = window[:2]
        x.update(start=high if self._flipped else low, end=low if self._flipped else high)
        y.update(start=window[2], end=window[3])

    def _on_size(self, name, old, new):
        """The browser says how many pixels it has for the chart."""
        if isinstance(new, int) and new > 0:
            at = 0 if name == "inner_width" else 1
            size = list(self.size)
            size[at] = min(new, _LARGEST)
            self.size = tuple(size)
            self.redraw()

    def _on_tap(self, event):
        wide, high = self.size
        window = self.window
        steps = ((window[1] - window[0]) / wide, (window[3] - window[2]) / high)
        self._tapped(event.x, event.y, *steps)

    def _on_ranges(self, event):
        window = (*sorted((event.x0, event.x1)), *sorted((event.y0, event.y1)))
        with suppress(InputError):  # where nothing can be drawn, the picture stays
            self._moved(checked_window(window))

    def _on_selection(self, event):
        if event.final and event.geometry.get("type") == "poly":
            self._outlined(event.geometry["x"], event.geometry["y"])


class Spectrum:
    """A spectrum with the lines of galaxies, and below it what the model attends to."""

    def __init__(self):
        self._above = figure(
            height=260,
            x_range=Range1d(3600, 9800),
            y_range=Range1d(0, 1),
            y_axis_label="10⁻¹⁷ erg s⁻¹ cm⁻² Å⁻¹",
            tools="xpan,xwheel_zoom,xbox_zoom,reset",
            toolbar_location="above",
            sizing_mode="stretch_width",
        )
        self._below = figure(
            height=120,
            x_range=self._above.x_range,
            x_axis_label="Observed wavelength in vacuum [Å]",
            y_axis_label="Attention",
            y_range=Range1d(0, 1.05),
            tools="",
            toolbar_location=None,
            sizing_mode="stretch_width",
        )
        self._above.toolbar.logo = None
        for chart in (self._above, self._below):
            chart.axis.axis_label_text_font_size = "12px"
            chart.yaxis.minor_tick_line_color = None
        self._above.xaxis.major_label_text_font_size = "0px"
        self._pixels = ColumnDataSource({"x": [], "y": []})
        self._means = ColumnDataSource({"x": [], "y": []})
        self._lines = ColumnDataSource(_NO_LINES)
        self._attention = ColumnDataSource({"left": [], "right": [], "top": []})
        self._above.line("x", "y", source=self._pixels, color="#b5b5b5", line_width=0.6)
        self._above.line("x", "y", source=self._means, color=BLUE, line_width=1.3)
        for chart in (self._above, self._below):
            chart.vspan("x", source=self._lines, color="#777777", line_dash="dotted")
        self._above.text(
            "place", "top", text="name", source=self._lines, angle=np.pi / 2,
            text_font_size="11px", text_align="right", text_baseline="middle",
            text_color="#222222",
        )  # fmt: skip
        self._below.quad(
            left="left", right="right", bottom=0, top="top", source=self._attention, color=ORANGE,
            line_color=None, fill_alpha=0.75,
        )  # fmt: skip
        self.layout = column(self._above, self._below, sizing_mode="stretch_width")

    def draw(self, trace, redshift):
        """Show a spectrum.

        Parameters
        ----------
        trace : Trace or None
            None shows nothing.
        redshift : float
            Of the lines; none are marked if it is NaN.
        """
        self.attend(None)
        if trace is None:
            for source in (self._pixels, self._means):
                source.data = {"x": [], "y": []}
            self._lines.data = _NO_LINES
            return
        self._pixels.data = {"x": trace.wavelength, "y": trace.flux}
        self._means.data = {"x": trace.mean_wavelength, "y": trace.mean}
        low, high = float(trace.wavelength[0]), float(trace.wavelength[-1])
        top = trace.limits[1] + _ROOM * (trace.limits[1] - trace.limits[0])
        self._above.x_range.update(start=low, end=high)
        self._above.y_range.update(start=trace.limits[0], end=top)
        seen = observed(redshift, (low, high))
        at = [wavelength for _, wavelength in seen]
        self._lines.data = {
            "x": at,
            "name": [f"{name} " for name, _ in seen],
            "place": apart(at, _APART * (high - low), (low, high)),
            "top": [top] * len(seen),
        }

    def attend(self, attended):
        """Show what the model attends to.

        Parameters
        ----------
        attended : dict or None
            As `astroclip_astro.explorer.portrait.attended` returns it of a spectrum.
        """
        shown = attended or {"left": [], "right": [], "weight": []}
        self._attention.data = {
            "left": shown["left"],
            "right": shown["right"],
            "top": shown["weight"],
        }

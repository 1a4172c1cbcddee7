"""One page: what it shows of a view, and what it does when somebody does something."""

import base64
import logging
import math
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import panel as pn
import param

from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.explorer import answers, search, tables
from astroclip_astro.explorer.charts import Points, Spectrum
from astroclip_astro.explorer.later import Later, soon
from astroclip_astro.explorer.portrait import Picture, Trace
from astroclip_astro.explorer.predictions import predictions
from astroclip_astro.explorer.raster import GRADIENT
from astroclip_astro.explorer.view import LONGEST, View, checked_window

__all__ = ["Page"]

log = logging.getLogger(__name__)

#: Most rows of a table that a page hands over; larger ones are for ``astroclip catalog export``.
MOST_ROWS = 100_000

_NEIGHBOURS = 8
_BROKEN = "something went wrong, and the server has logged it"
_STEP, _ZOOM = 0.2, 1.25  # of the window, by keys


class Page(pn.custom.JSComponent):
    """The page of an atlas, in a browser or in a notebook.

    Parameters
    ----------
    atlas : Atlas
        What is looked at.
    uploads : Uploads
        What reads dropped files.
    samp : bool
        Whether tables can be sent to other programs on this computer.
    served : bool
        Whether it is a page of its own, whose address follows the view.
    query : str
        Of the address that it was opened by.
    **options : dict
        Of the component, such as ``width``.
    """

    map = pn.custom.Child()
    sky = pn.custom.Child()
    spectrum = pn.custom.Child()

    about = param.Dict({}, doc="The catalog, and what there is to choose from.")
    form = param.Dict({}, doc="What was asked, what is selected, and what is to be said of it.")
    shown = param.Dict({}, doc="The object that is looked at.")
    lists = param.List([], doc="Its neighbours.")
    details = param.Dict({}, doc="What came later: predictions and attention.")
    thumbs = param.Dict({}, doc="Small pictures of neighbours.")

    # Changes of a page that its browser is just connecting to may get lost on the way.
    _listened_to, _detail = False, None

    _esm = Path(__file__).parent / "page.js"
    # Its text, not its path: a file would be fetched, and the page be seen without it before.
    _stylesheets = [(Path(__file__).parent / "page.css").read_text("utf-8")]  # noqa: RUF012

    def __init__(self, atlas, uploads, *, samp=True, served=True, query="", **options):
        self._atlas, self._uploads, self._samp = atlas, uploads, samp
        self._view = None
        self._found, self._dropped_data, self._turn, self._answers = [], {}, 0, 0
        self._waiting = False
        self._lock = threading.RLock()  # in notebooks, where later answers come in other threads
        self._started = time.perf_counter()  # what is being answered
        self._document = pn.state.curdoc
        self._jobs = Later(self._document, self._lock)
        self._map = Points(
            partial(self._tapped, "map"),
            self._moved,
            self._outlined,
            title="Map of the embedding space",
        )
        self._sky = Points(
            partial(self._tapped, "sky"),
            self._moved_sky,
            title="Sky",
            labels=("Right ascension [deg]", "Declination [deg]"),
            flipped=True,
        )
        self._spectrum = Spectrum()
        children = {
            "map": pn.pane.Bokeh(self._map.figure, sizing_mode="stretch_both"),
            "sky": pn.pane.Bokeh(self._sky.figure, sizing_mode="stretch_both"),
            "spectrum": pn.pane.Bokeh(self._spectrum.layout, sizing_mode="stretch_width"),
        }
        super().__init__(
            about=self._told(served), sizing_mode="stretch_width", **children, **options
        )
        self._show(View())
        if query:
            self._answer({"do": "link", "query": query}, time.perf_counter())

    def _told(self, served):
        catalog = self._atlas.catalog
        descriptions = catalog.schema.descriptions
        return {
            "name": catalog.path.name,
            "objects": len(self._atlas),
            "model": catalog.provenance["model"],
            "maps": list(self._atlas.maps),
            "columns": [
                {"name": name, "description": descriptions.get(name, "")}
                for name in catalog.columns
                if name != "object_id"
            ],
            "served": served,
            "samp": self._samp,
            "gradient": GRADIENT[::16],
            "largest": self._uploads.largest,
        }

    # What somebody does -----------------------------------------------------------------------

    def _handle_msg(self, data):
        # Panel calls this without the lock of the document, until the browser says that it has all.
        soon(self._document, partial(self._answer, data, time.perf_counter()))

    def _attempt(self, act, started):
        """Do something, and say what goes wrong, whatever it is."""
        with self._lock:
            self._started = started
            try:
                act()
            except (AstroclipError, OSError) as error:
                self._say(error=str(error))
            except Exception:
                log.exception("a page could not be answered")
                self._say(error=_BROKEN)

    def _answer(self, data, started):
        """Do what the browser asks; whatever it sends, it is answered and nothing is broken."""
        self._attempt(partial(self._do, data), started)

    def _do(self, data):
        actions = {
            "view": self._on_view,
            "find": self._on_find,
            "open": lambda data: self._open(_text(data, "object")),
            "link": lambda data: self._show(View.parse(_text(data, "query"))),
            "clear": lambda data: self._show(replace(self._view, outline=())),
            "whole": lambda data: self._show(replace(self._view, window=())),
            "move": self._on_move,
            "ready": self._on_ready,
            "file": self._on_file,
            "table": self._on_table,
            "thumbs": self._on_thumbs,
        }
        act = actions.get(str(data.get("do"))) if isinstance(data, dict) else None
        if act is None:
            raise InputError("the page asked for something unknown: load it again")
        act(data)

    def _on_view(self, data):
        changes = {name: _text(data, name) for name in ("map", "colour", "where") if name in data}
        if isinstance(data.get("fixed"), bool):
            changes["fixed"] = data["fixed"]
        if "map" in changes:
            changes |= {"outline": (), "window": ()}
        self._show(replace(self._view, **changes))

    def _on_find(self, data):
        row, apart = self._atlas.find(_text(data, "text"))
        note = f"The nearest object is {answers.distance(apart)} away." if apart else ""
        self._open(self._atlas.names[row], note)

    def _open(self, object_id, note=""):
        note = note or f"This is {object_id}."
        self._show(replace(self._view, object=object_id, dropped=None), note)

    def _on_move(self, data):
        x, y, zoom = (_number(data, name) for name in ("x", "y", "zoom"))
        low_x, high_x, low_y, high_y = self._map.window
        factor = _ZOOM**-zoom
        wide, high = high_x - low_x, high_y - low_y
        middle = ((low_x + high_x) / 2 + _STEP * x * wide, (low_y + high_y) / 2 + _STEP * y * high)
        half = (factor * wide / 2, factor * high / 2)
        window = [at + sign * by for at, by in zip(middle, half, strict=True) for sign in (-1, 1)]
        # Nothing that one would go back to, as when the mouse moves it.
        self._view = replace(self._view, window=checked_window(window))
        self._draw()
        self._say()

    def _on_file(self, data):
        name, content = _text(data, "name"), _text(data, "content", math.inf)
        try:
            content = base64.b64decode(content, validate=True)
        except ValueError as error:
            raise InputError("the file did not arrive whole: drop it again") from error
        self._say("The file is being read and embedded.", busy=True)
        self._later("file", partial(self._uploads.read, name, content), self._on_embedded)

    def _on_embedded(self, found):
        embedding, portrait, attention = found
        dropped = search.taken(self._atlas.catalog, embedding)
        self._dropped_data = {str(dropped): (portrait, attention)}  # as a link to it says, too
        name = getattr(portrait, "object_id", "") or "the file"
        self._show(replace(self._view, object="", dropped=dropped), f"This is {name}.")

    def _on_table(self, data):
        what, send = _text(data, "what"), data.get("send") is True
        table = self._table(what)
        name = f"{self._atlas.catalog.path.name}-{what}"
        if send:
            if not self._samp:
                raise InputError("tables are sent by SAMP from one's own computer only")
            self._say("The table is being sent.", busy=True)
            self._later("table", partial(tables.sent, table, name), self._on_sent)
            return
        notes = dict(self._atlas.catalog.provenance) | {"view": self._view.query}
        content = base64.b64encode(tables.as_votable(table, notes)).decode()
        self._send_msg({"name": f"{name}.vot", "content": content})
        self._say(f"{len(table)} rows.")

    def _on_sent(self, programs):
        self._say(f"Sent to {', '.join(programs)}.")

    def _on_thumbs(self, data):
        wanted = data.get("wanted")
        if not isinstance(wanted, list) or len(wanted) > 100:
            raise InputError("the page asked for too many pictures")
        if not all(isinstance(one, dict) for one in wanted):
            raise InputError("the page asked for pictures of nothing: load it again")
        pairs = [(_text(one, "object"), _text(one, "modality")) for one in wanted]
        self._later("thumbs", partial(self._small, pairs), self._on_small)

    def _on_small(self, found):
        self.thumbs = found

    def _on_ready(self, data):
        self._listened_to = True
        if self._detail is not None:
            self._on_detailed(self._detail)

    def _small(self, pairs):
        found = {}
        for object_id, modality in pairs:
            try:
                portrait = self._atlas.portrait(object_id, modality)
            except AstroclipError:
                portrait = None
            found[f"{modality} {object_id}"] = answers.small(portrait)
        return found

    def _tapped(self, chart, x, y, step_x, step_y):
        started = time.perf_counter()
        xs, ys = self._atlas.maps[self._view.map] if chart == "map" else self._place
        shown = self._passing if chart == "map" else self._passing & self._inside
        row = self._atlas.nearest(xs / step_x, ys / step_y, x / step_x, y / step_y, shown)
        if row is not None:
            self._answer({"do": "open", "object": self._atlas.names[row]}, started)

    def _moved(self, window):
        """Follow the mouse: as often as there is time, and the newest only."""
        self._next = window
        if self._waiting:
            return
        self._waiting = True

        def follow():
            self._waiting = False
            self._view = replace(self._view, window=self._next)
            if self._next:
                self._map.redraw()
            else:
                self._draw()
            self._say()

        soon(self._document, lambda: self._attempt(follow, time.perf_counter()))

    def _moved_sky(self, window):
        if window:
            soon(self._document, self._sky.redraw)
        else:
            self._draw_sky()

    def _outlined(self, xs, ys):
        self._attempt(lambda: self._show(self._view.within(xs, ys)), time.perf_counter())

    # What it shows ----------------------------------------------------------------------------

    @property
    def _place(self):
        return self._atlas.ra, self._atlas.dec

    def _show(self, view, note=""):
        """Show a view, or say why that is not possible and stay as it was."""
        maps = list(self._atlas.maps)
        if view.map not in maps:
            if view.map:
                raise InputError(f"there is no map of {view.map[:40]!r}")
            view = replace(view, map=maps[0])
        if view.dropped:
            view = replace(view, object="")
        old, first = self._view, self._view is None
        passing = self._atlas.passing(view.where)
        colouring = self._atlas.colouring(view.colour) if view.colour else None
        outlined = (view.map, view.outline)
        same_outline = not first and outlined == (old.map, old.outline)
        inside = self._inside if same_outline else self._atlas.inside(*outlined)
        looked = (view.object, view.dropped)
        same = None if first else (old.object, old.dropped)
        asked = (looked, view.where, view.fixed)
        searched = None if first else (same, old.where, old.fixed)
        if asked != searched:
            vectors, redshift = self._vectors(view), self._redshift(view)
            found = search.neighbours(
                self._atlas.catalog,
                vectors,
                k=_NEIGHBOURS,
                where=view.where,
                fixed=view.fixed,
                itself=view.object,
            )
            lists = [answers.neighbours(one, redshift) for one in found]
        else:
            found, lists = self._found, self.lists
        if looked != same:
            shown, trace = self._looked_at(view)
        # Nothing has been changed until here, where nothing is left to fail.
        self._view, self._passing, self._colouring = view, passing, colouring
        self._inside, self._found = inside, found
        drawn = (*outlined, view.colour, view.where)
        if first or drawn != (old.map, old.outline, old.colour, old.where):
            self._draw()
            self._draw_sky()
        elif view.window != old.window:
            self._draw()
        self._mark()
        changed = {}
        if looked != same:
            self._turn += 1
            self._spectrum.draw(trace, self._redshift(view))
            changed["shown"] = shown | {"turn": self._turn}
            changed["details"] = {}
        if asked != searched:
            changed["lists"] = lists
        self.param.update(**changed, form=self._form(note=note, new=True))
        if looked != same and vectors:
            work = partial(self._detailed, self._turn, view, vectors)
            self._later("details", work, self._on_detailed)

    def _vectors(self, view):
        catalog = self._atlas.catalog
        if view.dropped:
            return search.vectors_of_dropped(catalog, view.dropped)
        if not view.object:
            return []
        self._atlas.row(view.object)  # is there such an object?
        return search.vectors_of(catalog, view.object)

    def _redshift(self, view):
        if view.dropped:
            return view.dropped.redshift
        return self._atlas.redshift[self._atlas.row(view.object)] if view.object else math.nan

    def _draw(self):
        view = self._view
        x, y = self._atlas.maps[view.map]
        self._map.draw(
            x,
            y,
            window=view.window,
            shown=self._passing,
            chosen=self._inside,
            colouring=self._colouring,
        )
        self._map.outline(view.outline)

    def _draw_sky(self):
        chosen = self._passing & self._inside
        self._sky.draw(
            *self._place, window=(), shown=chosen, chosen=chosen, colouring=self._colouring
        )

    def _mark(self):
        view = self._view
        rows = {
            int(row)
            for one in self._found
            if one.table is not None
            for row in self._atlas.names.get_indexer(
                np.asarray(one.table["object_id"]).astype(object)
            )
            if row >= 0
        }
        for chart, (x, y) in ((self._map, self._atlas.maps[view.map]), (self._sky, self._place)):
            own = self._atlas.row(view.object) if view.object else None
            chart.mark(None if own is None else (x[own], y[own]), [(x[i], y[i]) for i in rows])

    def _form(self, *, note="", error="", busy=False, new=False):
        view = self._view
        selected = self._passing & self._inside
        self._answers += 1
        return {
            "answer": self._answers,  # as browsers are not told of what is the same as before
            "map": view.map,
            "colour": view.colour,
            "where": view.where,
            "fixed": view.fixed,
            "outlined": bool(view.outline),
            "query": view.query,
            "passing": int(self._passing.sum()),
            "selected": int(selected.sum()),
            "unplaced": self._atlas.unplaced[view.map],
            "legend": answers.legend(self._colouring),
            "note": note,
            "error": error,
            "busy": busy,
            "new": new,
            "milliseconds": round(1000 * (time.perf_counter() - self._started), 1),
        }

    def _say(self, note="", *, error="", busy=False):
        self.form = self._form(note=note, error=error, busy=busy)

    def _looked_at(self, view):
        """What is said of an object, and its spectrum if it has one."""
        if not view.object and not view.dropped:
            return {}, None
        redshift = self._redshift(view)
        portraits, reasons = {}, {}
        if view.dropped:
            portrait, _ = self._dropped_data.get(str(view.dropped), (None, None))
            portraits[view.dropped.modality] = portrait
            title, values = getattr(portrait, "object_id", "") or "dropped file", []
        else:
            title = view.object
            units = self._atlas.catalog.schema.units
            values = answers.columns(self._atlas.values(view.object), units)
            for modality in self._atlas.catalog.modalities:
                try:
                    portraits[modality] = self._atlas.portrait(view.object, modality)
                except AstroclipError as error:
                    reasons[modality] = str(error)
        trace = next((p for p in portraits.values() if isinstance(p, Trace)), None)
        picture = next((p for p in portraits.values() if isinstance(p, Picture)), None)
        shown = {
            "title": title,
            "dropped": bool(view.dropped),
            "redshift": None if math.isnan(redshift) else round(float(redshift), 5),
            "picture": answers.source(picture),
            "side": picture.side if picture else 0,
            "spectrum": trace is not None,
            "reasons": [f"{name}: {reason}" for name, reason in reasons.items()],
            "values": values,
        }
        return shown, trace

    # What comes later ----------------------------------------------------------------------------

    def _detailed(self, turn, view, vectors):
        """What takes longer than a click may."""
        attention = {}
        if view.dropped:
            _, attention[view.dropped.modality] = self._dropped_data.get(
                str(view.dropped), (None, None)
            )
        else:
            for modality in self._atlas.catalog.modalities:
                attention[modality] = self._atlas.attended(view.object, modality)
        return turn, attention, predictions(vectors)

    def _on_detailed(self, found):
        turn, attention, predicted = found
        self._detail = found
        if not self._listened_to or turn != self._turn:  # somebody went on
            return
        self._spectrum.attend(attention.get("spectrum"))
        self.details = {
            "turn": turn,
            "attention": attention.get("image"),
            "predictions": answers.predicted(predicted),
        }

    def _later(self, kind, work, then):
        """Do something in another thread, and something with what it returns in this page."""

        def finish(future):
            self._attempt(lambda: then(future.result()), time.perf_counter())

        self._jobs.do(kind, work, finish)

    def _table(self, what):
        if what == "neighbours":
            return tables.joined(self._found)
        if what != "selection":
            raise InputError("the page asked for an unknown table: load it again")
        selected = self._passing & self._inside
        if not 0 < selected.sum() <= MOST_ROWS:
            raise InputError(
                f"{selected.sum()} objects are selected: expected 1 to {MOST_ROWS}. For more, "
                f"astroclip catalog export {self._atlas.catalog.path.name} FILE.vot --where …"
            )
        return self._atlas.table(selected)


def _text(data, name, longest=LONGEST):
    value = data.get(name)
    if not isinstance(value, str):
        raise InputError(f"the page sent no {name}: load it again")
    if len(value) > longest:
        raise InputError(f"the {name} has {len(value)} characters: expected {longest} at most")
    return value


def _number(data, name):
    value = data.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 10:
        raise InputError(f"the page sent no number as {name}: load it again")
    return value

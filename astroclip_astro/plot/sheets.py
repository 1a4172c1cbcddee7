"""What is found beside what was searched for."""

import numpy as np
from astropy.table import Table

from astroclip_astro.errors import InputError
from astroclip_astro.plot.panels import draw, read, show_missing
from astroclip_astro.plot.style import FLUX_DENSITY, ORANGE, new_figure, numbers
from astroclip_astro.quality import Quality

__all__ = ["cross_modal_sheet", "neighbors_sheet"]

_ACROSS = 5  # pictures in a row
_WIDE, _SIDE, _HIGH = 7.5, 1.75, 1.5  # inches: a spectrum, a picture, a spectrum's height
_LONGEST = 22  # characters of a name above a picture


def neighbors_sheet(found, query, objects, *, redshift=None, figure=None):
    """Draw a query and what a search found, the most similar first.

    Parameters
    ----------
    found : astropy.table.QTable
        As `EmbeddingCatalog.search` returns it: ``object_id``, ``score``, if known ``redshift``,
        and, where several queries were searched for one by one, ``query``.
    query : object or str, or sequence of these
        The spectrum or cutout that was searched for, or a name that `objects` knows; a list of
        them, in the order of the search, where `found` has ``query``.
    objects : callable or mapping
        Gives the spectrum or cutout of an ``object_id``, None where there is none.
    redshift : float or sequence of float, optional
        Of the query, or of each; by default as the object states it.
    figure : matplotlib.figure.Figure or matplotlib.figure.SubFigure, optional
        Where to draw; by default a new one.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        The query and what it found, shape (1 + k,), or (query, 1 + k) for several; as
        `spectrum_panel` and `image_panel` draw them. Above each stand its name, its score and Δz,
        its redshift less that of the query. The object of the query itself is framed.

    Raises
    ------
    InputError
        If nothing was found, or `objects` does not know a name, or an object cannot be used.

    Examples
    --------
    >>> from astropy.table import QTable
    >>> from astroclip_astro.plot import neighbors_sheet
    >>> from astroclip_astro.simulate import MockSurvey
    >>> mocks = MockSurvey.bundled()
    >>> found = QTable({"object_id": mocks.truth["object_id"][1:3], "score": [0.97, 0.94]})
    >>> row = {str(name): i for i, name in enumerate(mocks.truth["object_id"])}
    >>> axes = neighbors_sheet(found, mocks.cutout(0), lambda name: mocks.cutout(row[name]))
    >>> axes.shape
    (3,)
    """
    several, queries, tables = _searched(found, query)
    redshifts = np.full(len(queries), np.nan)
    if redshift is not None:
        redshifts = numbers("redshift", np.atleast_1d(redshift), "")[0]
        if len(redshifts) != len(queries):
            raise InputError(f"{len(redshifts)} redshifts for {len(queries)} queries")
    asked = [_read(_get(objects, one) if isinstance(one, str) else one) for one in queries]
    answers = [[_read(_get(objects, str(n))) for n in table["object_id"]] for table in tables]
    k = max(len(table) for table in tables)
    pictures = all(_is_picture(record) for row in answers for record in row)
    figure, axes = _grid(figure, asked, k, pictures)
    for panels, one, z, records, table in zip(axes, asked, redshifts, answers, tables, strict=True):
        if one is not None and np.isnan(z):
            z = one.redshift
        name = "no data" if one is None else one.object_id
        known = f"z = {z:.3f}" if np.isfinite(z) else "z unknown"
        _fill(panels[0], one, ("query", name, known), above=_is_picture(one), redshift=z)
        panels[0].spines[:].set_linewidth(1.8)
        theirs = _redshifts(table, records)
        for i, (ax, record) in enumerate(zip(panels[1:], records, strict=False)):
            other = str(table["object_id"][i])
            same = one is not None and other == one.object_id
            offset = theirs[i] - z
            offset = f"Δz {offset:+.3f}" if np.isfinite(offset) else "Δz unknown"
            score = f"score {table['score'][i]:.3f}"
            said = (other, score, "itself" if same else offset)
            # Names of lines once, above the first spectrum.
            named = i == 0 and _is_picture(one)
            _fill(ax, record, said, above=pictures, redshift=theirs[i], named=named)
            if same:
                ax.spines[:].set(color=ORANGE, linewidth=2.5)
        for ax in panels[1 + len(records) :]:
            ax.set_axis_off()
    _label_spectra(figure, axes, [[a, *b] for a, b in zip(asked, answers, strict=True)], pictures)
    return axes if several else axes[0]


def cross_modal_sheet(
    found_spectra, image, found_images, spectrum, *, spectra, images, figure=None
):
    """Draw the spectra that an image finds beside the images that a spectrum finds.

    Parameters
    ----------
    found_spectra : astropy.table.QTable
        What `EmbeddingCatalog.search` returns for the image with ``modality="spectrum"``.
    image : object or str
        The cutout that was searched for, or a name that `images` knows.
    found_images : astropy.table.QTable
        What it returns for the spectrum with ``modality="image"``.
    spectrum : object or str
        The spectrum that was searched for, or a name that `spectra` knows.
    spectra, images : callable or mapping
        Give the spectrum and the cutout of an ``object_id``, as for `neighbors_sheet`.
    figure : matplotlib.figure.Figure or matplotlib.figure.SubFigure, optional
        Where to draw; by default a new one.

    Returns
    -------
    by_image, by_spectrum : numpy.ndarray of matplotlib.axes.Axes
        As `neighbors_sheet` returns them.

    Raises
    ------
    InputError
        As `neighbors_sheet` does.

    Examples
    --------
    >>> from astropy.table import QTable
    >>> from astroclip_astro.plot import cross_modal_sheet
    >>> from astroclip_astro.simulate import MockSurvey
    >>> mocks = MockSurvey.bundled()
    >>> names = [str(name) for name in mocks.truth["object_id"][:2]]
    >>> found = QTable({"object_id": names, "score": [0.9, 0.8]})
    >>> spectra = {name: mocks.spectrum(i) for i, name in enumerate(names)}
    >>> images = {name: mocks.cutout(i) for i, name in enumerate(names)}
    >>> by_image, by_spectrum = cross_modal_sheet(
    ...     found, names[0], found, names[0], spectra=spectra, images=images
    ... )
    >>> len(by_image), len(by_spectrum)
    (3, 3)
    """
    if isinstance(image, str):
        image = _get(images, image)
    if isinstance(spectrum, str):
        spectrum = _get(spectra, spectrum)
    height = 1 + max(_SIDE + _HIGH * len(found_spectra), 5)
    figure = new_figure(figure, 2 * _WIDE, height)
    left, right = figure.subfigures(1, 2)
    by_image = neighbors_sheet(found_spectra, image, spectra, figure=left)
    by_spectrum = neighbors_sheet(found_images, spectrum, images, figure=right)
    left.suptitle("Spectra that the image finds")
    right.suptitle("Images that the spectrum finds")
    return by_image, by_spectrum


def _searched(found, query):
    """Whether there are several queries, the queries, and what each found."""
    if not isinstance(found, Table) or not {"object_id", "score"} <= set(found.colnames):
        raise InputError(
            f"found is a {type(found).__name__}: expected the table that search() returns, with "
            "object_id and score"
        )
    if not len(found):
        raise InputError("the search found nothing: there is nothing to draw")
    if "query" not in found.colnames:
        return False, [query], [found]
    if not isinstance(query, list | tuple) or found["query"].max() >= len(query):
        raise InputError(
            f"found is of several queries, and query is a {type(query).__name__}: expected a list "
            "of all that was searched for"
        )
    return True, list(query), [found[found["query"] == i] for i in range(len(query))]


def _get(objects, name):
    """The object of a name."""
    try:
        return objects(name) if callable(objects) else objects[name]
    except (KeyError, IndexError) as error:
        raise InputError(
            "objects does not know it: expected a spectrum or cutout for every object_id, or None",
            object_id=name,
        ) from error


def _read(obj):
    """The record of an object; None if there is none, or no usable pixel in it."""
    if obj is None:
        return None
    try:
        record = read(obj)
    except InputError as error:
        if Quality.NO_DATA in error.quality:
            return None
        raise
    return record if _is_picture(record) or (record.ivar > 0).any() else None


def _is_picture(record):
    return record is None or record.modality == "image"


def _redshifts(table, records):
    """Redshifts of what was found: of the catalog, or else of the objects themselves."""
    own = [np.nan if record is None else record.redshift for record in records]
    if "redshift" not in table.colnames:
        return np.array(own)
    known = numbers("redshift", table["redshift"], "")[0]
    return np.where(np.isnan(known), own, known)


def _grid(figure, asked, k, pictures):
    """Axes of shape (query, 1 + k).

    Spectra are stacked under their query. Pictures are to the right of it in rows; under it, if it
    is a spectrum, and the only query.
    """
    n, across = len(asked), _ACROSS
    if figure is not None and figure.bbox.height > figure.bbox.width:
        across = 3  # larger pictures rather than empty space between them
    across = min(k, across)
    rows = -(-k // across)
    if not pictures:
        heights = [_SIDE if any(map(_is_picture, asked)) else _HIGH + 0.5, *[_HIGH] * k]
        figure = new_figure(figure, _WIDE * n, sum(heights) + 0.3)
        grid = figure.add_gridspec(1 + k, n, height_ratios=heights)
        cells = [[grid[j, i] for j in range(1 + k)] for i in range(n)]
    elif n == 1 and not _is_picture(asked[0]):
        figure = new_figure(figure, _WIDE + 1.5, 2.8 + (_SIDE + 0.4) * rows)
        grid = figure.add_gridspec(1 + rows, across, height_ratios=[2.4, *[_SIDE + 0.4] * rows])
        cells = [[grid[0, :], *(grid[1 + i // across, i % across] for i in range(k))]]
    else:
        first = _SIDE * rows if all(map(_is_picture, asked)) else 3 * _SIDE
        figure = new_figure(figure, first + _SIDE * across + 0.3, (_SIDE + 0.5) * rows * n)
        grid = figure.add_gridspec(n * rows, 1 + across, width_ratios=[first, *[_SIDE] * across])
        cells = [
            [
                grid[q * rows : (q + 1) * rows, 0],
                *(grid[q * rows + i // across, 1 + i % across] for i in range(k)),
            ]
            for q in range(n)
        ]
    axes = np.empty((n, 1 + k), object)
    for at in np.ndindex(axes.shape):
        axes[at] = figure.add_subplot(cells[at[0]][at[1]])
    return figure, axes


def _fill(ax, record, said, *, above, redshift, named=True):
    """One object, with what is said of it above, or in the corner as there is room in spectra."""
    if record is None:
        show_missing(ax)
    else:
        draw(record, ax, redshift=redshift, named=named)
    if above:
        name, *rest = said if said[0] != "query" else (said[1], "query", *said[2:])
        if len(name) > _LONGEST:
            name = f"{name[: _LONGEST // 2]}…{name[-(_LONGEST // 2) + 1 :]}"
        ax.set_title("\n".join((name, "  ".join(rest))), fontsize="small")
    else:
        box = {"facecolor": "w", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        text = "   ".join(said)
        ax.text(0.008, 0.95, text, va="top", size="small", bbox=box, transform=ax.transAxes)


def _label_spectra(figure, axes, records, pictures):
    """Wavelengths under the lowest spectrum of each column, flux densities once, one range."""
    shown = [
        [ax for ax, record in zip(row, column, strict=False) if not _is_picture(record)]
        for row, column in zip(axes, records, strict=True)
    ]
    spectra = [ax for row in shown for ax in row]
    if not spectra:
        return
    low = min(ax.get_xlim()[0] for ax in spectra)
    high = max(ax.get_xlim()[1] for ax in spectra)
    for ax in spectra:
        ax.set_xlim(low, high)
        ax.tick_params(labelsize="small")
    for row in shown if not pictures else [spectra]:
        for ax in row[:-1]:
            ax.tick_params(labelbottom=False)
        if row:
            row[-1].set_xlabel("Observed wavelength in vacuum [Å]", fontsize="small")
    if pictures:
        for ax in spectra:
            ax.set_ylabel(FLUX_DENSITY, fontsize="small")
    else:
        figure.supylabel(FLUX_DENSITY, fontsize="small")

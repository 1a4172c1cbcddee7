"""A catalog's page on this computer, or in a notebook."""

import ipaddress
import webbrowser

import panel as pn

from astroclip_astro.catalog.catalog import EmbeddingCatalog
from astroclip_astro.catalog.map_files import map_path
from astroclip_astro.catalog.maps import make_map
from astroclip_astro.catalog.recipes import Objects
from astroclip_astro.errors import InputError
from astroclip_astro.explorer.atlas import Atlas
from astroclip_astro.explorer.page import Page
from astroclip_astro.explorer.portrait import sitting
from astroclip_astro.explorer.uploads import Uploads

__all__ = ["explore", "serve"]

_LARGEST = 16 * 10**6  # bytes of a dropped file
# As text a file is larger by a third, and there is what is said of it.
_MESSAGE = 2 * _LARGEST


def explore(catalog, *, objects=None):
    """Look at a catalog in a notebook.

    Parameters
    ----------
    catalog : EmbeddingCatalog or path-like
        What to look at. Maps that it has not are made first: see
        `astroclip_astro.catalog.make_map`.
    objects : callable, optional
        Takes an ``object_id`` and a modality and returns the spectrum or the cutout, as
        `astroclip_astro.embed` takes it; by default `find` of
        `astroclip_astro.catalog.recipes.Objects`, which knows those of catalogs that were built by
        recipes and whose data come along.

    Returns
    -------
    panel.viewable.Viewable
        To be shown by the notebook.

    Raises
    ------
    CatalogError
        If there is no such catalog, or its map is damaged.

    Examples
    --------
    >>> from astroclip_astro.explorer import explore
    >>> explore("mocks")  # doctest: +SKIP
    """
    pn.extension(inline=True)  # what the page needs is not fetched from the network
    atlas = _atlas(catalog, objects)
    return Page(atlas, Uploads(sitting, atlas.model, largest=_LARGEST), served=False)


def serve(catalog, *, objects=None, address="localhost", port=0, browser=False, started=None):
    """Serve the page of a catalog until it is interrupted.

    Parameters
    ----------
    catalog, objects : object
        As for `explore`.
    address : str
        Of this computer, under which the page can be reached; by default from itself only. At any
        other address there is no password and no encryption, and no SAMP.
    port : int
        By default any that is free.
    browser : bool
        Open the page in the browser.
    started : callable, optional
        Called with the address of the page when it can be reached.

    Raises
    ------
    InputError
        If the address or the port cannot be had.
    CatalogError
        If there is no such catalog, or its map is damaged.
    """
    atlas = _atlas(catalog, objects)
    own = _is_own(address)
    uploads = Uploads(sitting, atlas.model, largest=_LARGEST)

    def page():
        return Page(atlas, uploads, samp=own, query=pn.state.location.search)

    server = pn.serve(
        {"/": page},
        address=None if address == "0.0.0.0" else address,
        port=port,
        title=f"{atlas.catalog.path.name} · astroclip",
        show=False,
        start=False,
        verbose=False,
        websocket_max_message_size=_MESSAGE,
        check_unused_sessions_milliseconds=10_000,
        unused_session_lifetime_milliseconds=30_000,
    )
    where = f"http://{address}:{server.port}/"
    try:
        server.start()
        if started is not None:
            started(where)
        if browser:
            webbrowser.open(where)
        server.io_loop.start()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
        uploads.close()


def _atlas(catalog, objects):
    if not isinstance(catalog, EmbeddingCatalog):
        catalog = EmbeddingCatalog.open(catalog)
    for modality in catalog.modalities:
        if catalog.store.count(modality) and not map_path(catalog.path, modality).exists():
            make_map(catalog, modality)
    return Atlas(catalog, objects or Objects(catalog).find)


def _is_own(address):
    """Whether an address can be reached from this computer only."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError as error:
        raise InputError(
            f"address is {address!r}: expected localhost, or the number of one of this computer"
        ) from error

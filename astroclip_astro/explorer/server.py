"""A catalog's page on this computer, or in a notebook."""

import ipaddress
import logging
import signal
import socket
import threading
import webbrowser
from contextlib import suppress
from urllib.parse import urlencode

import panel as pn

from astroclip_astro.catalog.catalog import EmbeddingCatalog
from astroclip_astro.catalog.map_files import map_path
from astroclip_astro.catalog.maps import make_map
from astroclip_astro.catalog.recipes import Objects
from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.explorer.access import Headers, names_of, put_before
from astroclip_astro.explorer.atlas import Atlas
from astroclip_astro.explorer.page import Page
from astroclip_astro.explorer.raster import warm
from astroclip_astro.explorer.search import neighbours, vectors_of
from astroclip_astro.explorer.uploads import Uploads

__all__ = ["explore", "serve"]

_LARGEST = 16 * 10**6  # bytes of a dropped file
# As text a file is larger by a third, and there is what is said of it.
_MESSAGE = 2 * _LARGEST
_MOST_PAGES = 200  # that are open at once
# After which a page is forgotten whose browser is gone, and how often that is looked at.
_FORGOTTEN, _LOOKED_AT = 30_000, 10_000  # milliseconds

log = logging.getLogger(__name__)


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
    InputError
        If it has no vectors.
    CatalogError
        If there is no such catalog, or its map is damaged, or missing and cannot be made.

    Examples
    --------
    >>> from astroclip_astro.explorer import explore
    >>> explore("mocks")  # doctest: +SKIP
    """
    pn.extension(inline=True)  # what the page needs is not fetched from the network
    atlas = _atlas(catalog, objects)
    return Page(atlas, _uploads(atlas), served=False)


def serve(catalog, *, objects=None, address="localhost", port=0, browser=False, started=None):
    """Serve the page of a catalog until it is interrupted or terminated.

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
        If the address or the port cannot be had, or the catalog has no vectors.
    CatalogError
        If there is no such catalog, or its map is damaged, or missing and cannot be made.

    Notes
    -----
    The page answers to the name localhost, to numbers and, if others can reach it, to the names of
    this computer: not to a name that somebody else gave to its number.
    """
    own = _is_own(address)
    atlas = _atlas(catalog, objects)
    uploads = _uploads(atlas)

    def page():
        try:
            if len(server.get_sessions("/")) >= _MOST_PAGES:
                raise InputError("too many pages are open: close some, and load this one again")
            query = urlencode(pn.state.session_args, doseq=True)
            return Page(atlas, uploads, samp=own, query=query)
        except AstroclipError as error:
            return pn.pane.Str(str(error))
        except Exception:  # of which Panel would show the traceback
            log.exception("a page could not be made")
            return pn.pane.Str("Something went wrong, and the server has logged it.")

    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        server = pn.serve(
            {"/": page},
            address=address,
            port=port,
            title=f"{atlas.catalog.path.name} · astroclip",
            location=False,  # which the page follows itself, and Panel's knows no IPv6
            show=False,
            start=False,
            verbose=False,
            websocket_max_message_size=_MESSAGE,
            check_unused_sessions_milliseconds=_LOOKED_AT,
            unused_session_lifetime_milliseconds=_FORGOTTEN,
            # The page has no use for those of a request, and its token would carry them.
            include_headers=[],
            include_cookies=[],
            transforms=[Headers],
        )
    except OSError as error:
        raise InputError(
            f"port {port} of {address} cannot be had ({error.strerror}): expected an address of "
            "this computer and a port that is free, such as any, 0"
        ) from error
    put_before(server._tornado, names_of(address))
    warming = threading.Thread(target=_warm, args=(atlas,), name="astroclip-warm")
    try:
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))  # Panel's: it stops
        server.start()
        warming.start()
        if not own:
            log.warning("everybody who reaches this computer can look at %s", atlas.catalog.path)
        if started is not None:
            started(_url(address, server.port))
        if browser:
            where = _url("localhost" if _is_any(address) else address, server.port)
            # In a thread, as some browsers stay until they are closed.
            threading.Thread(target=_open, args=(where,), daemon=True).start()
        server.io_loop.start()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop()
        uploads.close()
        with suppress(ValueError):
            for one, handler in handlers.items():
                signal.signal(one, handler)
        if warming.ident:
            warming.join()


def _atlas(catalog, objects):
    # Opened for the page alone: its rows are counted once, and who has it in a notebook goes on
    # changing his own.
    if isinstance(catalog, EmbeddingCatalog):
        catalog = EmbeddingCatalog.open(catalog.path, model=catalog.model)
    else:
        catalog = EmbeddingCatalog.open(catalog)
    counts = {modality: catalog.store.count(modality) for modality in catalog.modalities}
    if not any(counts.values()):
        raise InputError(f"no object of {catalog.path} has a vector: there is nothing to look at")
    for modality, count in counts.items():
        if count and not map_path(catalog.path, modality).exists():
            make_map(catalog, modality)
    atlas = Atlas(catalog, objects or Objects(catalog).find)
    try:
        atlas.model  # noqa: B018, now rather than when somebody waits for it
    except AstroclipError as error:
        log.warning("without the model no data are shown, and no files read: %s", error)
    return atlas


def _uploads(atlas):
    # By its name, so that the process that reads files says of each what is missing.
    return Uploads(model=atlas.catalog.model, largest=_LARGEST)


def _warm(atlas):
    """Do what takes long the first time, so that the first click need not wait for it."""
    warm()
    if not len(atlas):
        return
    name = atlas.names[0]
    vectors = vectors_of(atlas.catalog, name)
    for modality in atlas.maps:
        with suppress(Exception):  # whoever looks at it will be told
            atlas.portrait(name, modality)
    neighbours(atlas.catalog, vectors, k=1, itself=name)


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


def _is_any(address):
    return address != "localhost" and ipaddress.ip_address(address).is_unspecified


def _url(address, port):
    host = socket.gethostname() if _is_any(address) else address
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _open(where):
    try:
        opened = webbrowser.open(where)
    except (webbrowser.Error, OSError):
        opened = False
    if not opened:
        log.warning("no browser can be started: open %s in one", where)

"""Tables to TOPCAT, Aladin and others that are open, by SAMP."""

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from astropy.table import Table

from astroclip_astro.catalog.catalog import EmbeddingCatalog
from astroclip_astro.errors import CatalogError, InputError
from astroclip_astro.table_files import write_tables

__all__ = ["send"]

_MTYPE = "table.load.votable"
_WAIT = 60  # s that a program may take to read the table


def send(table, *, client=None, name="astroclip"):
    """Show a table in other programs, such as TOPCAT and Aladin.

    Parameters
    ----------
    table : astropy.table.Table or EmbeddingCatalog
        What `EmbeddingCatalog.search` or `EmbeddingCatalog.table` returned, say; of a catalog all
        objects, without their vectors.
    client : str, optional
        Name of the program, or how it begins, in either case: "TOPCAT", "Aladin". By default all
        that take tables.
    name : str
        What the table is to be called there.

    Returns
    -------
    list of str
        Names of the programs that have read it.

    Raises
    ------
    InputError
        If it is no table, or no such program is there.
    CatalogError
        If pyvo is missing, no SAMP hub is running, or a program could not read the table.

    Notes
    -----
    The IVOA's Simple Application Messaging Protocol, https://www.ivoa.net/documents/SAMP: the table
    is put into a file and its address on this computer told to the programs that are connected to
    a hub. TOPCAT and Aladin start one. The file is gone when they have read it.

    Examples
    --------
    >>> from astroclip_astro.catalog import EmbeddingCatalog
    >>> from astroclip_astro.catalog.samp import send
    >>> catalog = EmbeddingCatalog.open("mocks")  # doctest: +SKIP
    >>> send(catalog.search("mock-2024-0000009"), client="TOPCAT")  # doctest: +SKIP
    ['topcat']
    """
    if isinstance(table, EmbeddingCatalog):
        table = table.table()
    if not isinstance(table, Table) or not len(table.colnames):
        raise InputError(f"table is a {type(table).__name__}: expected a table, or a catalog")
    with _connected() as (hub, errors), TemporaryDirectory(prefix="astroclip-") as folder:
        receivers = _receivers(hub, client)
        file = Path(folder, "table.vot")
        notes = {"attrs": {key: str(value) for key, value in table.meta.items()}}
        write_tables([table], file, notes, rows=len(table))
        about = {"url": file.as_uri(), "name": name, "table-id": f"astroclip-{uuid4().hex}"}
        for one, program in receivers.items():
            try:
                answer = hub.ecall_and_wait(one, _MTYPE, str(_WAIT), **about)
            except errors as error:
                raise CatalogError(f"{program} did not take the table: {error}") from error
            if answer.get("samp.status") not in ("samp.ok", "samp.warning"):
                why = answer.get("samp.error", {}).get("samp.errortxt", "it does not say why")
                raise CatalogError(f"{program} could not read the table: {why}")
    return list(receivers.values())


@contextmanager
def _connected():
    """A connection to the hub, and what it raises."""
    try:
        from pyvo.samp import SAMPHubError, SAMPIntegratedClient, conf
    except ImportError as error:
        raise CatalogError("pyvo is missing: pip install 'astroclip_astro[samp]'") from error
    from xmlrpc.client import Error

    # This one only calls, so that nothing listens, on this computer or to the network.
    with conf.set_temp("use_internet", False):
        hub = SAMPIntegratedClient(name="astroclip_astro", callable=False)
        try:
            hub.connect()
        except (SAMPHubError, OSError, Error) as error:
            raise CatalogError(
                "no SAMP hub is running: start TOPCAT or Aladin, and try again"
            ) from error
        try:
            yield hub, (SAMPHubError, OSError, Error)
        finally:
            hub.disconnect()


def _receivers(hub, client):
    """Names of the programs to send to, by their identifiers."""
    takers = hub.get_subscribed_clients(_MTYPE)
    known = {one: hub.get_metadata(one).get("samp.name", one) for one in takers}
    chosen = {
        one: program
        for one, program in known.items()
        if client is None or program.lower().startswith(client.lower())
    }
    if not chosen:
        there = ", ".join(sorted(known.values())) or "none"
        what = "that takes tables" if client is None else f"named {client!r}"
        raise InputError(f"no program {what} is connected to the SAMP hub; those that do: {there}")
    return chosen

"""Tables that a page hands over: as VOTable, or to other programs."""

import io
import json

import numpy as np
from astropy.table import vstack

from astroclip_astro.errors import InputError
from astroclip_astro.table_files import votable

__all__ = ["as_votable", "joined", "sent"]


def joined(found):
    """All neighbours in one table.

    Parameters
    ----------
    found : list of Neighbours
        Of one object.

    Returns
    -------
    astropy.table.QTable
        As `EmbeddingCatalog.search` returns it, with ``searched_with`` and ``ranked``, modalities.

    Raises
    ------
    InputError
        If there are none.
    """
    parts = []
    for one in found:
        if one.table is not None:
            part = one.table.copy()
            part.add_column(np.full(len(part), one.modality), name="searched_with", index=0)
            part.add_column(np.full(len(part), one.ranked), name="ranked", index=1)
            parts.append(part)
    if not parts:
        raise InputError("there are no neighbours: look at an object first")
    return vstack(parts, metadata_conflicts="silent")


def as_votable(table, notes):
    """Write a table as a VOTable.

    Parameters
    ----------
    table : astropy.table.Table
        What was found.
    notes : dict of str
        What is said of the whole.

    Returns
    -------
    bytes
        The file.
    """
    file = io.BytesIO()
    votable(table, json.dumps({"attrs": notes})).to_xml(file, tabledata_format="binary2")
    return file.getvalue()


def sent(table, name):
    """Send a table to other programs on this computer by SAMP.

    Parameters
    ----------
    table : astropy.table.Table
        What was found.
    name : str
        What it is to be called there.

    Returns
    -------
    list of str
        Names of the programs that have read it.

    Raises
    ------
    CatalogError, InputError
        As `astroclip_astro.catalog.samp.send` does.
    """
    from astroclip_astro.catalog.samp import send

    return send(table, name=name)

"""Work on the partitions of a catalog, on a Dask cluster."""

from contextlib import contextmanager, suppress

import pyarrow as pa

__all__ = ["RETRIES", "aligned", "partitions", "running"]

#: How often a task that failed is tried again; those of a worker that died are in any case.
RETRIES = 1

# Threads of this process. Without addresses, their web pages would be open to all machines around.
_THREADS = {
    "processes": False,
    "protocol": "tcp",
    "host": "127.0.0.1",
    "dashboard_address": "127.0.0.1:0",
    "worker_dashboard_address": "127.0.0.1:0",
    "set_as_default": False,
}


@contextmanager
def running(client=None):
    """The cluster to work on.

    Parameters
    ----------
    client : dask.distributed.Client, optional
        By default the current one; where there is none, threads of this process for the time.

    Yields
    ------
    dask.distributed.Client
    """
    from dask.distributed import Client

    if client is None:
        with suppress(ValueError):  # there is none
            client = Client.current()
    if client is not None:
        yield client
        return
    with Client(**_THREADS) as threads:
        yield threads


def partitions(catalog):
    """The partitions of a catalog, not yet read.

    Parameters
    ----------
    catalog : lsdb.catalog.Catalog
        Which.

    Returns
    -------
    dict
        By `hats.pixel_math.HealpixPixel`, in the order of the sky, `dask.delayed.Delayed` of a
        `pandas.DataFrame` each.
    """
    pixels = catalog.get_ordered_healpix_pixels()
    if not len(pixels):
        return {}
    frames = catalog.to_dask_dataframe(divisions=False).to_delayed()
    return dict(zip(pixels, frames, strict=True))


def aligned(table):
    """Copy a table that may have come over the network, where its numbers lie at odd addresses.

    Arrow does not mind, but Lance does.

    Parameters
    ----------
    table : pyarrow.Table
        Any.

    Returns
    -------
    pyarrow.Table
        The same.
    """
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_stream(sink.getvalue()).read_all()

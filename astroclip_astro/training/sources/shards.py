"""Sources whose objects are rows of HDF5 groups, in one file or in many."""

import h5py
import numpy as np

from astroclip_astro.errors import InputError
from astroclip_astro.training.sources.base import Source

__all__ = ["ShardedSource"]


class ShardedSource(Source):
    """Objects in the rows of HDF5 groups.

    Files are opened while they are read and closed again, in whatever process reads: no handle
    outlives a call, and none crosses a fork. Rows are read one by one, in the order in which they
    lie in their file.
    """

    def _set_shards(self, shards, lengths):
        """Set the groups, (path, name of the group) each, and how many objects they hold."""
        self._shards = list(shards)
        self._starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    def _read_rows(self, rows, names, convert=dict):
        """Read datasets row by row.

        Parameters
        ----------
        rows : numpy.ndarray
            Which objects, shape (B,), int64, in any order.
        names : iterable of str
            Datasets of the groups.
        convert : callable
            From what was read of one object, a dict by name, to what is returned; an `InputError`
            of it is one that this object cannot be read.

        Returns
        -------
        rows : numpy.ndarray
            Those that could be read, in the order asked for.
        found : list
            What `convert` returned for each.
        """
        rows = np.asarray(rows, np.int64)
        found = [None] * len(rows)
        shard = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(shard):
            path, group = self._shards[number]
            inside = np.flatnonzero(shard == number)
            inside = inside[np.argsort(rows[inside], kind="stable")]
            try:
                with h5py.File(path, "r") as file:
                    data = {name: file[group][name] for name in names}
                    for i in inside:
                        row = int(rows[i] - self._starts[number])
                        try:
                            found[i] = convert({name: data[name][row] for name in data})
                        except (OSError, InputError, IndexError) as error:
                            self._cannot_read(rows[i], path, error)
            except (OSError, KeyError) as error:
                for i in inside:
                    self._cannot_read(rows[i], path, f"cannot be read as HDF5 ({error})")
        kept = np.array([one is not None for one in found], bool)
        return rows[kept], [one for one in found if one is not None]

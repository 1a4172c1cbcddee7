"""Files of any registered survey as training data: a folder of them, or a table that names them."""

import logging
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
from astropy.io import fits

from astroclip_astro.adapters.image import image_batch
from astroclip_astro.adapters.records import FailedRecord
from astroclip_astro.adapters.spectrum import spectrum_batch
from astroclip_astro.errors import InputError
from astroclip_astro.inputs import records
from astroclip_astro.surveys.files import get_survey
from astroclip_astro.training.sources.base import Source
from astroclip_astro.training.sources.tables import different, properties, read_table

__all__ = ["FolderSource"]

logger = logging.getLogger(__name__)

_FITS = re.compile(r"\.(fits|fit|fts)(\.gz|\.fz)?$", re.IGNORECASE)

_MODALITIES = ("image", "spectrum")


class FolderSource(Source):
    """Files that `astroclip_astro.embed` reads, with the properties that a table gives.

    Parameters
    ----------
    path : path-like
        Either a table, in any format of `astropy.table.Table.read`, with one row per object: file
        names in the columns ``spectrum`` or ``image`` or both, relative to the table's folder;
        ``object_id`` (the stem of the file name where there is none), ``ra``, ``dec``; and
        properties, any other numeric columns, ``redshift`` among them. Or a folder, of whose files
        all that belong to `survey` are taken, with every object in them.
    survey : str or dict of str, optional
        Registered name of the survey whose files they are; with both modalities, names by modality.
        Files named by a table are identified where it is not given.

    Raises
    ------
    InputError
        If the table names no files or objects twice, or the folder holds none of the survey's.

    Notes
    -----
    Of a file that holds several objects, the row of a table means the one with its ``object_id``.
    Such a file is read whole, once for each batch that needs one of its objects. Names that come
    again in another file of a folder get a number, as in ``123[1]``: split such data by sky.

    Spectra without uncertainty have an ivar of 1 where there are data. The inverse variance of
    images is not known.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from astropy.io import fits
    >>> from astropy.table import Table
    >>> from tempfile import TemporaryDirectory
    >>> from astroclip_astro.training.sources.folder import FolderSource
    >>> columns = {"flux": np.ones(3000), "ivar": np.ones(3000),
    ...            "loglam": np.linspace(3.6, 3.9, 3000)}
    >>> with TemporaryDirectory() as folder:
    ...     fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(Table(columns))]).writeto(
    ...         f"{folder}/spec-0266-51602-0001.fits")
    ...     table = Table({"spectrum": ["spec-0266-51602-0001.fits"], "redshift": [0.02]})
    ...     table.write(f"{folder}/galaxies.csv")
    ...     source = FolderSource(f"{folder}/galaxies.csv")
    ...     batch = source.read(np.array([0]), torch.Generator())
    >>> batch.object_id.tolist(), batch.targets["redshift"]
    (['spec-0266-51602-0001'], tensor([0.0200]))
    """

    def __init__(self, path, preprocessing=None, *, survey=None, errors="raise"):
        super().__init__(preprocessing, errors=errors)
        self.name = Path(path).name
        if Path(path).is_dir():
            self._list_folder(Path(path), survey)
        else:
            self._list_table(Path(path), survey)

    def _list_table(self, path, survey):
        table = read_table(path)
        present = [name for name in _MODALITIES if name in table.colnames]
        if not present or not len(table):
            raise InputError(
                f"{path}: {len(table)} rows with columns {', '.join(table.colnames)}; expected at "
                "least one row, and file names in a column 'spectrum' or 'image'"
            )
        self._offer(present)
        self._survey = survey if isinstance(survey, dict) else dict.fromkeys(_MODALITIES, survey)
        self._files = {
            one: [path.parent / ("" if np.ma.is_masked(name) else str(name)) for name in table[one]]
            for one in self.modalities
        }
        if "object_id" in table.colnames:
            self.object_id = np.array([str(name) for name in table["object_id"]])
        else:
            first = next(one for one in present if one in self.modalities)
            self.object_id = np.array([file.stem for file in self._files[first]])
        names, times = np.unique(self.object_id, return_counts=True)
        if (times > 1).any():
            raise InputError(
                f"{path}: {times.max()} rows of this object_id; expected one row per object",
                object_id=str(names[times.argmax()]),
            )
        self._place = None
        self.targets = properties(table, exclude=("object_id", *_MODALITIES))
        unknown = np.full(len(table), np.nan)
        self.ra, self.dec = (self.targets.pop(name, unknown) for name in ("ra", "dec"))

    def _list_folder(self, path, survey):
        if not isinstance(survey, str):
            raise InputError(f"{path}: expected survey=, the survey whose files to take from it")
        reader = get_survey(survey)
        self._offer((reader.modality,))
        self._survey = {reader.modality: survey}
        files, found, place = [], [], []
        for file in sorted(path.rglob("*")):
            if file.is_file() and self._belongs(reader, file):
                own = self._read_file(file, reader.modality)
                files += [file] * len(own)
                found += own
                place += range(len(own))
        if not found:
            raise InputError(f"{path}: no file of {survey} in it")
        self._files = {reader.modality: files}
        self._place = place
        self.object_id = different([record.object_id for record in found])
        self.ra = np.array([record.ra for record in found], np.float64)
        self.dec = np.array([record.dec for record in found], np.float64)
        redshift = np.array([record.redshift for record in found], np.float64)
        self.targets = {"redshift": redshift}

    def _belongs(self, reader, file):
        """Whether a file is one of the survey's; a broken FITS file is an error, not another's."""
        try:
            with fits.open(file) as hdulist:
                return reader.identify(file, hdulist)
        except OSError as error:
            if not _FITS.search(file.name):
                return reader.identify(file, None)
            if self.errors == "raise":
                raise InputError("not a readable FITS file", object_id=str(file)) from error
            self.skipped += 1
            logger.warning("%s: left out %s, not a readable FITS file", self.name, file)
            return False

    def _read_file(self, file, modality):
        return list(
            records(file, preprocessing=self.preprocessing, survey=self._survey.get(modality))
        )

    def _choose(self, found, row):
        """Of the records of a file, the one of an object."""
        if self._place is not None:
            found = found[self._place[row] :][:1]
        elif len(found) > 1:
            found = [one for one in found if one.object_id == self.object_id[row]]
        if len(found) != 1:
            return FailedRecord(reason=f"holds {len(found)} objects of this name, expected one")
        return found[0]

    def read(self, rows, generator):
        """Read objects; see `Source.read`.

        Parameters
        ----------
        rows : numpy.ndarray
            Which, shape (B,), int64.
        generator : torch.Generator
            Not used: the noise is in the files.

        Returns
        -------
        TrainingBatch
        """
        rows = np.asarray(rows, np.int64)
        good = np.ones(len(rows), bool)
        tensors = {}
        for modality in sorted(self.modalities):
            files = self._files[modality]
            chosen = [FailedRecord(reason="")] * len(rows)
            by_file = defaultdict(list)
            for i in np.flatnonzero(good):
                by_file[files[rows[i]]].append(i)
            for file, inside in by_file.items():
                found = self._read_file(file, modality)
                for i in inside:
                    chosen[i] = self._choose(found, rows[i])
            make = spectrum_batch if modality == "spectrum" else image_batch
            batch = make(chosen, self.preprocessing[modality])
            for i in np.flatnonzero(good & (batch.coverage == 0)):
                reason = getattr(chosen[i], "reason", "no usable pixel on the model's grid")
                self._cannot_read(rows[i], files[rows[i]], reason)
                good[i] = False
            tensors[modality] = batch.flux
            if modality == "spectrum":
                tensors["spectrum_ivar"] = batch.ivar
        return self._batch(rows[good], **{name: flux[good] for name, flux in tensors.items()})

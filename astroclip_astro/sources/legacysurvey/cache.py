"""Validated downloads on disk, as plain FITS files."""

import hashlib
import json
import os
import tempfile
from io import BytesIO
from pathlib import Path

from astropy.io import fits
from astroquery import log

__all__ = ["FitsCache"]


class FitsCache:
    """FITS files named by what was asked.

    Each HDU carries CHECKSUM and DATASUM, the FITS convention's own, so that damage to a file is
    seen whatever it is. A file gets its name only when it is complete.

    Parameters
    ----------
    folder : pathlib.Path
        Where the files are; it is made when the first one is written.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def path(self, url, params):
        """File that holds, or would hold, an answer.

        Parameters
        ----------
        url : str
            Where it was asked.
        params : dict
            The query.

        Returns
        -------
        pathlib.Path
        """
        name = hashlib.sha256(json.dumps([url, params], sort_keys=True).encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.fits"

    def read(self, path, parse):
        """Read a file, or remove it if it is damaged.

        Parameters
        ----------
        path : pathlib.Path
            The file.
        parse : callable
            Takes its bytes and returns what they mean, or raises an exception.

        Returns
        -------
        object or None
            What `parse` returned; None if there is no such file, or no longer.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s cannot be read and is not used: %s", path, error)
            return None
        try:
            parsed = parse(content)
            _verify(content)
        except Exception as error:  # damage can look like anything
            log.warning("%s is damaged (%s) and is removed", path, error)
            path.unlink(missing_ok=True)
            return None
        return parsed

    def write(self, path, content):
        """Write a file that was found to be valid.

        Parameters
        ----------
        path : pathlib.Path
            The file.
        content : bytes
            FITS.
        """
        aside = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
            with open(handle, "wb") as stream, _raw(content) as hdulist:
                # Headers that could be read are kept, mended where they are not strictly FITS.
                hdulist.writeto(stream, checksum=True, output_verify="silentfix+ignore")
            os.replace(aside, path)
        except (OSError, ValueError, fits.VerifyError) as error:
            # A full disk, say, is no reason to lose what has come.
            log.warning("%s cannot be kept: %s", path, error)
        finally:
            if aside:
                Path(aside).unlink(missing_ok=True)

    def clear(self):
        """Remove all files, those that were not completed too."""
        for pattern in ("??/*.fits", "??/.*.part"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)


def _raw(content):
    """Open FITS without decompressing images, whose bytes are to be kept or checked."""
    return fits.open(BytesIO(content), disable_image_compression=True)


def _verify(content):
    with _raw(content) as hdulist:
        for hdu in hdulist:
            # They return 0 if a sum is wrong, 2 if there is none.
            if hdu.verify_checksum() != 1 or hdu.verify_datasum() != 1:
                raise ValueError(f"wrong checksum of HDU {hdu.name or hdu.ver}")

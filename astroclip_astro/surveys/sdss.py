"""SDSS optical spectra: spec-*.fits of SDSS-I/II, BOSS, eBOSS and SDSS-V."""

from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import InverseVariance
from specutils import Spectrum

from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality
from astroclip_astro.surveys.base import Survey, opened

__all__ = ["BAD_PIXEL", "SDSS"]

#: Bits of SPPIXMASK (https://www.sdss4.org/dr17/algorithms/bitmasks/#SPPIXMASK) that make the flux
#: itself useless: BRIGHTSKY, NODATA, BADSKYCHI, REDMONSTER. Others, such as MANYBADCOLUMNS, are set
#: on half of a good spectrum, where the pipeline's ivar already accounts for what was lost.
BAD_PIXEL = sum(1 << bit for bit in (23, 24, 27, 28))

_COORDINATES = (("PLUG_RA", "PLUG_DEC"), ("RACAT", "DECCAT"), ("FIBER_RA", "FIBER_DEC"))

_KINDS = ("OBJTYPE", "SOURCETYPE", "TARGETTYPE")
_IDENTIFIERS = ("PLATE", "PLATEID", "MJD", "FIBERID", "FIELD", "CATALOGID")
_DESCRIBING = (*_IDENTIFIERS, *_KINDS, "CLASS", "Z", "ZWARNING", *chain(*_COORDINATES))


class SDSS(Survey):
    """The Sloan Digital Sky Survey's optical spectra, one coadded spectrum per file.

    Reads ``spec-*.fits``, full or lite, of any pipeline version (data model:
    https://data.sdss.org/datamodel/files/SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html). HDU 1 is a
    table of flux (1e-17 erg s-1 cm-2 Å-1), loglam (log10 of the vacuum wavelength in Å, as SDSS
    has it since its first release), ivar and and_mask. HDU 2, SPECOBJ or SPALL, describes the
    object. Names of columns are in either case.

    Pixels are masked where ivar is 0 or and_mask has BRIGHTSKY, NODATA, BADSKYCHI or REDMONSTER.

    ``meta`` holds ``object_id`` (plate-mjd-fiber as in the file's name, e.g. 0266-51602-0001;
    field-mjd-catalogid for SDSS-V), ``ra``, ``dec``, ``redshift`` (NaN where unknown) and
    ``quality``: NOT_A_GALAXY if the pipeline's class is STAR or QSO or the fibre was on the sky;
    SURVEY_WARNING if ZWARNING is not 0.

    Notes
    -----
    specutils' "SDSS-III/IV spec" loader knows no redshift, masks any nonzero and_mask, and
    recognises only some versions; files are read with `astropy.io.fits` instead.

    Examples
    --------
    >>> from astroclip_astro.surveys.sdss import SDSS
    >>> spectrum, = SDSS().read("spec-0266-51602-0001.fits")  # doctest: +SKIP
    >>> spectrum.meta["redshift"]  # doctest: +SKIP
    0.0212754
    """

    modality = "spectrum"
    medium = "vacuum"

    def identify(self, path, hdulist):
        """Whether HDU 1 is a table with columns flux, loglam and ivar.

        Parameters
        ----------
        path : pathlib.Path
            The file.
        hdulist : astropy.io.fits.HDUList or None
            The open file if it is FITS; only headers are read.

        Returns
        -------
        bool
        """
        return hdulist is not None and _is_coadd(hdulist)

    def read(self, path, hdulist=None):
        """Read the spectrum of a file.

        Parameters
        ----------
        path : path-like
            The file.
        hdulist : astropy.io.fits.HDUList, optional
            The same if it is open already.

        Yields
        ------
        specutils.Spectrum
            A single one.

        Raises
        ------
        InputError
            If the file has no coadded spectrum, or its flux unit is not understood.
        """
        path = Path(path)
        with opened(path, hdulist) as hdulist:
            yield from self.convert(hdulist, object_id=path.name)

    def convert(self, hdulist, *, object_id=""):
        """Convert an open file, such as an archive gives.

        Parameters
        ----------
        hdulist : astropy.io.fits.HDUList
            Layout of ``spec-*.fits``.
        object_id : str, optional
            Name of the file; the object is named by it if the file itself does not name it.

        Yields
        ------
        specutils.Spectrum
            A single one.

        Raises
        ------
        InputError
            If there is no coadded spectrum, or its flux unit is not understood.
        """
        if not _is_coadd(hdulist):
            raise InputError(
                "expected an SDSS spec-*.fits file, whose HDU 1 is a table with columns flux, "
                "loglam and ivar",
                object_id=object_id,
            )
        header = hdulist[0].header
        coadd = _columns(hdulist[1], ("FLUX", "LOGLAM", "IVAR", "AND_MASK"))
        entry = _description(hdulist)
        unit = _flux_unit(header.get("BUNIT", "1E-17 erg/cm^2/s/Ang"), object_id)
        masked = ~(coadd["IVAR"] > 0)
        if "AND_MASK" in coadd:
            masked |= (coadd["AND_MASK"] & BAD_PIXEL) != 0
        yield Spectrum(
            flux=coadd["FLUX"] * unit,
            # loglam is float32 of multiples of 1e-4; rounding takes away 0.003 Å of noise.
            spectral_axis=10 ** np.round(coadd["LOGLAM"].astype(np.float64), 6) * u.AA,
            uncertainty=InverseVariance(coadd["IVAR"], unit=unit**-2),
            mask=masked,
            meta=_meta(entry, header, object_id),
        )


def _is_coadd(hdulist):
    hdu = next(iter(hdulist[1:2]), None)  # not by len(), which reads the headers of all
    if not isinstance(hdu, fits.BinTableHDU):
        return False
    names = {name.upper() for name in hdu.columns.names}
    return {"FLUX", "LOGLAM", "IVAR"} <= names


def _columns(hdu, wanted):
    """Those of the wanted columns that there are; the tables of SDSS have hundreds."""
    names = {name.upper(): name for name in hdu.columns.names}
    return {name: np.array(hdu.data[names[name]]) for name in wanted if name in names}


def _description(hdulist):
    """Return what is known of the object, from the row of the table that describes it."""
    for hdu in hdulist[2:4]:
        if isinstance(hdu, fits.BinTableHDU) and len(hdu.data) > 0:
            columns = _columns(hdu, _DESCRIBING)
            if "CLASS" in columns:
                return {name: column[0] for name, column in columns.items()}
    return {}


def _flux_unit(text, name):
    try:
        return _parsed(text)
    except ValueError as error:
        raise InputError(
            f"BUNIT {text!r} is not understood: expected '1E-17 erg/cm^2/s/Ang'",
            object_id=name,
        ) from error


@lru_cache(maxsize=16)  # one unit for all files, which remembers what it is equivalent to
def _parsed(text):
    """Parse a BUNIT such as '1E-17 erg/cm^2/s/Ang', which astropy refuses as it is."""
    first, *others = text.replace("Angstrom", "Ang").replace("Ang", "Angstrom").split("/")
    unit = u.Unit(first)
    for other in others:
        unit = unit / u.Unit(other)
    return unit


def _meta(entry, header, name):
    def value(*names):
        for name in names:
            if name in entry:
                return entry[name]
            if name in header:
                return header[name]
        return None

    plate, mjd, fiber = value("PLATE", "PLATEID"), value("MJD"), value("FIBERID")
    if None not in (plate, mjd, fiber):
        object_id = f"{plate:04d}-{mjd:05d}-{fiber:04d}"
    elif None not in (value("FIELD"), mjd, value("CATALOGID")):
        object_id = f"{value('FIELD'):06d}-{mjd:05d}-{value('CATALOGID')}"
    else:
        object_id = name.split(".")[0].removeprefix("spec-")
    ra, dec = next(
        (
            pair
            for pair in ((value(ra), value(dec)) for ra, dec in _COORDINATES)
            if None not in pair
        ),
        (np.nan, np.nan),
    )
    quality = Quality.GOOD
    kinds = {str(entry.get(name, "")).strip() for name in _KINDS}
    if str(entry.get("CLASS", "")).strip() in ("STAR", "QSO") or "SKY" in kinds:
        quality |= Quality.NOT_A_GALAXY
    if entry.get("ZWARNING", 0) != 0:
        quality |= Quality.SURVEY_WARNING
    return {
        "object_id": object_id,
        "ra": float(ra),
        "dec": float(dec),
        "redshift": float(entry.get("Z", np.nan)),
        "quality": quality,
    }

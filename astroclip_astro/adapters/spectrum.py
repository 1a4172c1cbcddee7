"""specutils spectra to batches of flux and ivar on the model's wavelength grid."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from astropy import units as u
from astropy.coordinates import SkyCoord
from specutils import Spectrum, SpectrumCollection, SpectrumList

from astroclip_astro.adapters.flux_density import (
    FLUX_UNIT,
    LARGEST_FLUX,
    flux_scale,
    to_ivar_function,
)
from astroclip_astro.adapters.modality import Modality
from astroclip_astro.adapters.records import FailedRecord, SpectrumBatch, SpectrumRecord
from astroclip_astro.adapters.resample import resample, resampling_operator
from astroclip_astro.adapters.wavelength import vacuum_bins
from astroclip_astro.errors import InputError
from astroclip_astro.quality import Quality

__all__ = [
    "FLUX_UNIT",
    "SpectrumPreprocessing",
    "spectrum_batch",
    "spectrum_records",
]

# Tensors are float32: anything beyond its range would become infinite there.
_LARGEST = float(np.finfo(np.float32).max)
_UNITS = {"ra": u.deg, "dec": u.deg, "redshift": u.one}
_TYPES = {"object_id": str, "quality": Quality}


@dataclass(frozen=True, kw_only=True)
class SpectrumPreprocessing:
    """The wavelength grid on which a model sees spectra.

    Parameters
    ----------
    wavelength_start : float
        Centre of the first pixel, vacuum Å. The default grid is that of DESI coadds.
    wavelength_step : float
        Width of a pixel, Å.
    n_pixels : int
        Number of pixels.

    Raises
    ------
    ValueError
        If the grid is empty or reaches below wavelength 0.

    Examples
    --------
    >>> from astroclip_astro.adapters.spectrum import SpectrumPreprocessing
    >>> SpectrumPreprocessing().edges[[0, -1]]
    array([3599.6, 9824.4])
    """

    wavelength_start: float = 3600.0
    wavelength_step: float = 0.8
    n_pixels: int = 7781

    def __post_init__(self):
        if not (self.n_pixels >= 1 and 0 < self.wavelength_step < 2 * self.wavelength_start):
            raise ValueError(
                f"{self}: expected n_pixels >= 1 and 0 < wavelength_step < 2 wavelength_start"
            )

    @cached_property
    def edges(self):
        """Bin edges, shape (n_pixels + 1,), float64, vacuum Å."""
        return self.wavelength_start + self.wavelength_step * (np.arange(self.n_pixels + 1) - 0.5)


def spectrum_records(obj, *, survey=None, survey_name="", object_id=""):
    """Bring whatever specutils holds to vacuum wavelengths and f_lambda, one record per spectrum.

    Parameters
    ----------
    obj : specutils.Spectrum, specutils.SpectrumCollection, or list (specutils.SpectrumList)
        Every row of a multi-dimensional flux array is one object, in C order, whichever axis is
        the spectral one. The spectral axis may be in any unit of wavelength, frequency, energy or
        wavenumber, in either order, given as centres or as edges. A gap in centres, wider than
        2.5 times the spacing around it, is taken as missing data. Flux must be a flux density
        per wavelength or frequency. ``meta`` may hold, one value or one per row: ``object_id``,
        ``ra`` and ``dec`` (deg) or ``coord`` (SkyCoord), ``redshift``, ``quality``; and for the
        whole object ``medium`` ("air" or "vacuum"), ``frame`` ("observed" or "rest") and
        ``header`` (a FITS header, where PLUG_RA and PLUG_DEC or RA and DEC are looked up).
    survey : astroclip_astro.surveys.base.Survey, optional
        Where ``meta`` does not say it, tells the medium of wavelengths. Without either they are
        vacuum wavelengths, unless a FITS axis type AWAV says air.
    survey_name : str
        Kept in the records.
    object_id : str
        Identifier for objects whose ``meta`` has none; ``[0]``, ``[1]``, … is put behind it if
        there are several.

    Yields
    ------
    SpectrumRecord or FailedRecord
        In order. What is wrong with one row, or one member of a list or collection, makes a
        `FailedRecord` in its place.

    Raises
    ------
    InputError
        If the object as a whole cannot be embedded: no spectrum, no flux density unit, a velocity
        or pixel axis, an unknown kind of uncertainty.

    Notes
    -----
    Masked pixels (mask True), non-finite flux and uncertainties that are not finite and positive
    give ivar 0. Without uncertainty, good pixels have ivar 1 and NO_UNCERTAINTY is set.
    NON_FINITE is set if a pixel that is not masked has no finite flux; specutils masks NaN when
    no mask is given, so a mask that equals the NaN counts as none.

    Air wavelengths become vacuum wavelengths by equation 8 of Morton (2000, ApJS 130, 403), the
    IAU standard, inverted by iteration. A spectrum with ``meta["frame"] = "rest"`` is brought
    back to the observed frame, conserving the integral of flux, if its redshift is known:
    wavelengths are multiplied and flux densities divided by 1 + z. A ``redshift`` given to
    specutils itself is a label, kept as the record's redshift unless it is 0, its default.

    Examples
    --------
    >>> import astropy.units as u, numpy as np
    >>> from specutils import Spectrum
    >>> from astroclip_astro.adapters.spectrum import spectrum_records
    >>> spectrum = Spectrum(flux=np.full(4, 1.0) * u.mJy,
    ...                     spectral_axis=np.linspace(0.5, 0.8, 4) * u.um)
    >>> record, = spectrum_records(spectrum, object_id="flat")
    >>> record.edges.round(6), record.flux.round(3), record.quality
    (array([4500., 5500., 6500., 7500., 8500.]),
     array([119.917,  83.276,  61.182,  46.843]), <Quality.NO_UNCERTAINTY: 512>)
    """
    if isinstance(obj, Spectrum):
        yield from _records(obj, survey, survey_name, object_id)
        return
    if isinstance(obj, SpectrumCollection):
        members = [obj[i if len(i) > 1 else i[0]] for i in np.ndindex(obj.shape)]
    elif isinstance(obj, (list, tuple)):
        members = obj
        _refuse_arms(members, object_id)
    else:
        raise InputError(
            f"got a {type(obj).__name__}, expected a specutils Spectrum, SpectrumList or "
            "SpectrumCollection",
            object_id=object_id,
        )
    for i, member in enumerate(members):
        member_id = f"{object_id}[{i}]" if object_id and len(members) > 1 else object_id
        try:
            yield from spectrum_records(
                member, survey=survey, survey_name=survey_name, object_id=member_id
            )
        except InputError as error:
            for _ in range(_n_rows(member) if isinstance(member, Spectrum) else 1):
                yield FailedRecord(
                    object_id=error.object_id or member_id,
                    survey=survey_name,
                    quality=error.quality,
                    reason=str(error).removeprefix(f"{error.object_id}: "),
                )


def _n_rows(spectrum):
    return spectrum.data.size // len(spectrum.spectral_axis)


def _refuse_arms(members, object_id):
    bands = [m.meta.get("band") for m in members if isinstance(m, Spectrum)]
    if len(bands) > 1 and set(bands) <= {"b", "r", "z"} and len(set(bands)) == len(bands):
        raise InputError(
            f"these are the {', '.join(bands)} arms of one DESI file, not {len(bands)} objects: "
            "pass the file's path with survey='desi', which merges them",
            object_id=object_id,
        )


def _records(spectrum, survey, survey_name, object_id):
    columns = _columns(spectrum, object_id)
    try:
        edges, index = vacuum_bins(spectrum.spectral_axis, _medium(spectrum, survey))
        rest = _choice(spectrum.meta, "frame", ("observed", "rest")) == "rest"
        rows = _flux_and_ivar(spectrum, edges, index)
        for row, (flux, ivar, quality) in enumerate(rows):
            values = {name: column[row] for name, column in columns.items()}
            values |= {"survey": survey_name, "quality": values["quality"] | quality}
            stretch = 1 + values["redshift"] if rest else 1.0
            if not 0 < stretch < np.inf:
                values["quality"] |= Quality.NOT_EMBEDDED
                yield FailedRecord(
                    **values,
                    reason="rest-frame wavelengths, and no redshift to undo it: give "
                    "meta['redshift'], or observed wavelengths",
                )
                continue
            known = spectrum.uncertainty is not None
            yield SpectrumRecord(
                **values,
                edges=edges if stretch == 1 else edges * stretch,
                flux=flux / stretch,
                ivar=ivar * stretch**2 if known else ivar,
                has_uncertainty=known,
            )
    except InputError as error:
        name = columns["object_id"][0] if columns["object_id"] else object_id
        raise InputError(str(error), object_id=name, quality=error.quality) from error.__cause__


def _choice(meta, key, allowed):
    value = meta.get(key, allowed[0])
    if value not in allowed:
        raise InputError(f"meta[{key!r}] is {value!r}, expected one of {allowed}")
    return value


def _columns(spectrum, object_id):
    """Per-row identifiers, coordinates, redshifts and quality bits from the metadata."""
    meta, rows = spectrum.meta, _n_rows(spectrum)
    header = meta.get("header", {})
    ra, dec = meta.get("ra"), meta.get("dec")
    if (ra is None or dec is None) and isinstance(meta.get("coord"), SkyCoord):
        ra, dec = meta["coord"].icrs.ra, meta["coord"].icrs.dec
    for keys in (("PLUG_RA", "PLUG_DEC"), ("RA", "DEC")):
        # Text may be hours or degrees, and so is left alone.
        pair = [header.get(key) for key in keys]
        if (ra is None or dec is None) and all(isinstance(value, float | int) for value in pair):
            ra, dec = pair
    redshift = meta.get("redshift")
    if redshift is None and spectrum.redshift != 0:
        redshift = spectrum.redshift
    identifier = object_id if meta.get("object_id") is None else meta["object_id"]
    if rows > 1 and np.ndim(identifier) == 0 and str(identifier):
        identifier = [f"{identifier}[{row}]" for row in range(rows)]
    given = {
        "object_id": identifier,
        "ra": ra,
        "dec": dec,
        "redshift": redshift,
        "quality": meta.get("quality", 0),
    }
    columns = {}
    for name, value in given.items():
        try:
            if name in _UNITS:
                value = np.nan if value is None else _known(value, _UNITS[name])
            values = np.broadcast_to(np.reshape(value, -1), rows).tolist()
            columns[name] = [_TYPES.get(name, float)(each) for each in values]
        except (TypeError, ValueError) as error:
            raise InputError(
                f"meta[{name!r}] is {given[name]!r}, expected one value or one for each of the "
                f"{rows} spectra ({error})",
                object_id=object_id,
            ) from error
    return columns


def _known(value, unit):
    """Numbers in a unit, NaN where they are masked: what is under a mask is no value."""
    numbers = u.Quantity(getattr(value, "unmasked", value), unit).value
    return np.where(getattr(value, "mask", False), np.nan, numbers)


def _medium(spectrum, survey):
    """Return "air" or "vacuum": declared in meta, by the FITS axis type, or by the survey."""
    if "medium" in spectrum.meta:
        return _choice(spectrum.meta, "medium", ("vacuum", "air"))
    header = spectrum.meta.get("header", {})
    types = [str(header.get(f"CTYPE{i}", "")) for i in (1, 2, 3)]
    types += getattr(getattr(spectrum.wcs, "wcs", None), "ctype", [])
    if any(ctype.startswith("AWAV") for ctype in types):
        return "air"
    return survey.medium if survey is not None else "vacuum"


def _flux_and_ivar(spectrum, edges, index):
    """Yield flux and ivar on the bins, (bin,), float64, and quality bits, row by row."""
    if np.iscomplexobj(spectrum.data):
        raise InputError("flux is complex: expected real numbers")
    scale = flux_scale(spectrum.unit, (edges[1:] + edges[:-1]) / 2)
    to_ivar = to_ivar_function(spectrum.uncertainty, spectrum.unit)

    def spectral_axis_last(array):
        array = np.broadcast_to(array, spectrum.data.shape)
        return np.moveaxis(array, spectrum.spectral_axis_index, -1)

    data = spectral_axis_last(spectrum.data)
    mask = spectral_axis_last(False if spectrum.mask is None else spectrum.mask)
    for at in np.ndindex(data.shape[:-1]):
        values = data[at].astype(np.float64)
        masked = mask[at].astype(bool)
        if np.array_equal(masked, np.isnan(values)):
            masked = np.zeros_like(masked)
        with np.errstate(all="ignore"):
            flux = values[index] * scale
            finite = np.abs(flux) <= _LARGEST
            good = finite & ~masked[index] & (index >= 0)
            quality = Quality.GOOD
            if (~finite & ~masked[index]).any():
                quality |= Quality.NON_FINITE
            if to_ivar is None:
                quality |= Quality.NO_UNCERTAINTY
                ivar = good.astype(np.float64)
            else:
                spread = spectral_axis_last(spectrum.uncertainty.array)[at].astype(np.float64)
                ivar = to_ivar(spread)[index] / scale**2
                ivar = np.where(good & (ivar > 0) & (ivar <= _LARGEST), ivar, 0)
        yield np.where(finite, flux, 0), ivar, quality


def spectrum_batch(records, preprocessing, device="cpu"):
    """Resample records onto the model's grid, and fill what they do not cover.

    Parameters
    ----------
    records : sequence of SpectrumRecord or FailedRecord
        A failed record makes a row of zeros that carries its bits and NOT_EMBEDDED.
    preprocessing : SpectrumPreprocessing
        The model's grid.
    device : str or torch.device
        Where to compute, in float64, and where the float32 tensors stay. MPS has no float64: for
        it they are computed on the CPU.

    Returns
    -------
    SpectrumBatch
        No row depends on the others in the batch.

    Notes
    -----
    Fill policy: gaps between good pixels are interpolated linearly in wavelength; everything
    before the first and after the last good pixel takes the mean over the range between them,
    which is then the mean of the whole row, hence 0 for an encoder that subtracts that. Filled
    pixels have ivar 0. Rows without any good pixel are 0, with NO_DATA and NOT_EMBEDDED set.

    ``coverage`` is the fraction of the grid that good pixels filled. ``snr`` is the median of
    flux sqrt(ivar) over those pixels, on the model's grid; NaN without uncertainty. Bits set
    here: PARTIAL_COVERAGE (coverage below 0.95), MOSTLY_MASKED (less than half good where the
    native grid reaches), UNDERSAMPLED (the median native pixel wider than 2 of the model's),
    LOW_SNR (snr below 1), NO_DATA.

    Examples
    --------
    >>> import astropy.units as u, numpy as np
    >>> from specutils import Spectrum
    >>> from astroclip_astro.adapters.spectrum import (
    ...     SpectrumPreprocessing, spectrum_batch, spectrum_records)
    >>> wavelength = np.arange(3600, 9825, 0.8) * u.AA
    >>> flux = np.ones(len(wavelength)) * u.Unit("1e-17 erg / (s cm2 Angstrom)")
    >>> records = list(spectrum_records(Spectrum(flux=flux, spectral_axis=wavelength)))
    >>> batch = spectrum_batch(records, SpectrumPreprocessing())
    >>> batch.flux.shape, batch.coverage
    (torch.Size([1, 7781, 1]), array([1.]))
    """
    shape = len(records), preprocessing.n_pixels
    target = torch.device(device)
    device = torch.device("cpu") if target.type == "mps" else target
    flux = torch.zeros(shape, dtype=torch.float64, device=device)
    ivar, n_reached = torch.zeros_like(flux), torch.zeros_like(flux[:, 0])
    quality = np.array([int(record.quality) for record in records], dtype=np.int64)
    grids = defaultdict(list)
    for i, record in enumerate(records):
        if isinstance(record, SpectrumRecord):
            grids[record.edges.tobytes()].append(i)
    for rows in grids.values():
        edges = records[rows[0]].edges
        where = slice(None) if len(rows) == len(records) else torch.tensor(rows, device=device)
        flux[where], ivar[where] = resample(
            np.stack([records[i].flux for i in rows]),
            np.stack([records[i].ivar for i in rows]),
            edges,
            preprocessing.edges,
            device,
        )
        operator = resampling_operator(edges, preprocessing.edges, device=device)
        n_reached[where] = operator.covered.sum().to(n_reached)
        if _undersampled(edges, preprocessing):
            quality[rows] |= Quality.UNDERSAMPLED
    ivar = ivar.clamp(max=_LARGEST).to(torch.float32)
    good = ivar > 0
    snr = torch.where(good, flux * ivar.sqrt(), torch.nan).nanmedian(1).values
    # One transfer for all three: each of them would have to wait for the device.
    n_good, n_reached, snr = torch.stack([good.sum(1), n_reached, snr]).cpu().numpy()
    coverage = n_good / preprocessing.n_pixels
    snr[[not getattr(record, "has_uncertainty", False) for record in records]] = np.nan
    sampled = np.array([isinstance(record, SpectrumRecord) for record in records], bool)
    for bit, holds in (
        (Quality.PARTIAL_COVERAGE, coverage < 0.95),
        (Quality.MOSTLY_MASKED, 2 * n_good < n_reached),
        (Quality.LOW_SNR, snr < 1),
        (Quality.NO_DATA | Quality.NOT_EMBEDDED, coverage == 0),
    ):
        quality[holds & sampled] |= bit
    quality[~sampled] |= Quality.NOT_EMBEDDED
    return SpectrumBatch(
        flux=_filled(flux, good).to(torch.float32)[..., None].to(target),
        ivar=ivar.to(target),
        coverage=coverage,
        snr=snr,
        quality=quality,
        **SpectrumBatch.columns(records),
    )


def _undersampled(edges, preprocessing):
    low, high = preprocessing.edges[[0, -1]]
    widths = np.diff(edges)[(edges[1:] > low) & (edges[:-1] < high)]
    return widths.size > 0 and np.median(widths) > 2 * preprocessing.wavelength_step


def _filled(flux, good):
    """Flux (B, L) with the pixels that are not good filled by the policy of spectrum_batch."""
    length = flux.shape[1]
    position = torch.arange(length, device=flux.device)
    left = torch.where(good, position, -1).cummax(1).values
    right = torch.where(good, position, length).flip(1).cummin(1).values.flip(1)
    inside = (left >= 0) & (right < length)
    left, right = left.clamp(min=0), right.clamp(max=length - 1)
    fraction = (position - left) / (right - left).clamp(min=1)
    before, after = flux.gather(1, left), flux.gather(1, right)
    flux = torch.where(inside, before + fraction.to(flux.dtype) * (after - before), 0)
    mean = flux.sum(1, keepdim=True) / inside.sum(1, keepdim=True).clamp(min=1)
    return torch.where(inside, flux, mean)


class SpectrumModality(Modality):
    """specutils spectra on a wavelength grid; see `Modality` for what the methods do."""

    preprocessing = SpectrumPreprocessing
    largest = LARGEST_FLUX

    def accepts(self, obj):
        """Any spectrum of specutils, or a collection of them."""
        return isinstance(obj, (Spectrum, SpectrumCollection, SpectrumList))

    def is_single(self, obj):
        """A spectrum with 1-D flux is."""
        return isinstance(obj, Spectrum) and obj.flux.ndim == 1

    def records(self, obj, *, preprocessing, survey=None, survey_name="", object_id=""):
        """As `spectrum_records` makes them."""
        return spectrum_records(obj, survey=survey, survey_name=survey_name, object_id=object_id)

    def batch(self, records, preprocessing, device="cpu"):
        """As `spectrum_batch` makes it."""
        return spectrum_batch(records, preprocessing, device)

"""Checks of surveys: their files are told from all others, read, understood and embedded."""

import os
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import InverseVariance, NDData, StdDevUncertainty, VarianceUncertainty
from specutils import Spectrum

import astroclip_astro as aa
from astroclip_astro.adapters.flux_density import flux_scale
from astroclip_astro.errors import AstroclipError, InputError
from astroclip_astro.plugins.limit import time_limit, within
from astroclip_astro.quality import Quality
from astroclip_astro.surveys import Survey
from astroclip_astro.surveys.files import claims
from astroclip_astro.testing.check import NotApplicable, check, require
from astroclip_astro.testing.foreign import foreign_files, opened
from astroclip_astro.testing.plugin import factory_loads

__all__ = ["CHECKS"]

_UNCERTAINTIES = (InverseVariance, StdDevUncertainty, VarianceUncertainty)
_TYPES = {"spectrum": Spectrum, "image": NDData}


@check(
    fix="Subclass astroclip_astro.surveys.Survey, with a constructor that needs no arguments, and "
    "set modality as the entry has it, medium (spectra) or bands, zeropoint, pixel_scale (images)."
)
def is_a_survey(subject):
    """The factory makes a Survey whose attributes are of the right kind and fit the entry."""
    survey = subject.needs(factory_loads)()
    require(isinstance(survey, Survey), f"it makes {survey!r}, expected a Survey")
    wanted = subject.entry.modality
    modality = getattr(survey, "modality", None)
    require(modality == wanted, f"its modality is {modality!r}, its entry says {wanted!r}")
    known = subject.manager.entries("modality")
    require(wanted in known, f"there is no modality {wanted!r}: known are {', '.join(known)}")
    require(survey.medium in ("vacuum", "air"), f"its medium is {survey.medium!r}")
    bands = survey.bands
    named = isinstance(bands, tuple) and all(isinstance(band, str) for band in bands)
    require(named, f"its bands are {bands!r}, expected a tuple of names")
    for name in ("zeropoint", "pixel_scale"):
        value = getattr(survey, name)
        require(value is None or np.isfinite(value), f"its {name} is {value!r}")
    return survey


@check(
    fix="Return True only for what no other survey has: a keyword, the names of HDUs or columns, "
    "or the file's whole name; hdulist is None for files that are not FITS. Return a bool at "
    "once, never raise, and read no data."
)
def refuses_foreign_files(subject):
    """Files of other surveys and of no survey are not identified, without errors or delay."""
    survey = subject.needs(is_a_survey)
    folder = subject.folder / "foreign"
    folder.mkdir()
    for path, owner in foreign_files(folder).items():
        if owner != subject.entry.name:
            claim = _identified(survey, path)
            require(not claim, f"it takes {path.name} for its own, which is {owner or 'no'} data")


@check(
    fix="Let identify return True for them, and False for those of others; if another plugin's "
    "survey claims them as well, that plugin may be too greedy: tell its authors."
)
def recognises_its_files(subject):
    """The example files are identified by this survey, and by no other."""
    survey = subject.needs(is_a_survey)
    for path in _files(subject):
        require(_identified(survey, path), f"identify returned False for {path.name}")
        with opened(path) as hdulist:
            others = [name for name in claims(path, hdulist) if name != subject.entry.name]
        require(not others, f"{path.name} is claimed by {' and '.join(others)} as well")


@check(
    fix="Yield one specutils.Spectrum with 1-D flux, or one NDData or CCDData of shape (band, "
    "row, column), for each galaxy in the file."
)
def reads_objects(subject):
    """The example files are read as one Astropy object for each galaxy, the same every time."""
    survey = subject.needs(is_a_survey)
    expected = _TYPES.get(survey.modality, object)
    found = []
    for path in _files(subject):
        objects = list(survey.read(path))
        require(objects, f"there is nothing in {path.name}")
        found += objects
        for obj in objects:
            what = f"a {type(obj).__name__}"
            fits = isinstance(obj, expected) and (
                expected is not NDData or not isinstance(obj, Spectrum)
            )
            require(fits, f"{path.name} gives {what}, expected {expected.__name__}")
            if expected is Spectrum:
                require(obj.flux.ndim == 1, f"{path.name} gives {what} of shape {obj.shape}")
            if expected is NDData:
                shape = np.shape(obj.data)
                require(len(shape) == 3, f"{path.name} gives {what} of shape {shape}")
        again = sum(1 for _ in survey.read(path))
        require(again == len(objects), f"{path.name} gives {len(objects)} objects, then {again}")
    return found


@check(
    fix="Multiply arrays with the unit that the survey's data model states (10**-17 * u.erg / u.s "
    "/ u.cm**2 / u.AA, u.nmgy …), or set zeropoint on the survey of images in counts."
)
def gives_units(subject):
    """Fluxes and wavelengths carry units of flux density and of wavelength."""
    survey = subject.needs(is_a_survey)
    for name, obj in _named(subject, Spectrum):
        axis = obj.spectral_axis.unit
        require(
            axis is not None and axis.is_equivalent(u.AA, u.spectral()),
            f"{name} has spectral unit {str(axis)!r}",
        )
        try:
            flux_scale(obj.unit, np.array([5000.0]))
        except InputError as error:
            require(False, f"{name}: {error}")
    for name, obj in _named(subject, NDData):
        stated = obj.unit is not None or {"zeropoint", "zeropoints"} & set(obj.meta or ())
        require(stated or survey.zeropoint is not None, f"{name} has no unit and no zeropoint")


@check(
    fix="Give uncertainty=InverseVariance(ivar), StdDevUncertainty or VarianceUncertainty, with "
    "the flux's unit and shape."
)
def gives_uncertainties(subject):
    """Uncertainties are of a known kind, of the flux's shape, and positive somewhere."""
    missing = []
    for name, obj in _pixels(subject):
        uncertainty = obj.uncertainty
        if uncertainty is None:
            missing.append(name)
            continue
        kind = type(uncertainty).__name__
        require(isinstance(uncertainty, _UNCERTAINTIES), f"{name} has uncertainty of kind {kind}")
        values = np.asarray(uncertainty.array)
        shape = np.shape(obj.data)
        require(values.shape == shape, f"{name} has flux {shape} and uncertainty {values.shape}")
        positive = np.isfinite(values) & (values > 0)
        require(positive.any(), f"{name} has no uncertainty that is finite and positive")
        require(not (values < 0).any(), f"{name} has negative uncertainties ({kind})")
    if missing:
        raise NotApplicable(
            f"{missing[0]} has none, which sets NO_UNCERTAINTY: give one if the survey has it"
        )


@check(
    fix="Give mask=…, a boolean array of the flux's shape, True where a pixel is bad: where the "
    "survey flags it, and where flux or uncertainty is not finite."
)
def masks_bad_pixels(subject):
    """Flux is finite wherever it is not masked and has weight, and some of it is."""
    for name, obj in _pixels(subject):
        flux = np.asarray(obj.data)
        mask = np.zeros(flux.shape, bool) if obj.mask is None else np.asarray(obj.mask)
        good = mask.dtype == bool and mask.shape == flux.shape
        require(good, f"{name} has a mask of {mask.dtype} {mask.shape} for flux {flux.shape}")
        weight = ~mask
        if isinstance(obj.uncertainty, InverseVariance):
            weight &= np.asarray(obj.uncertainty.array) > 0
        require(weight.any(), f"{name} has no pixel that is good")
        lost = int((~np.isfinite(flux[weight])).sum())
        require(not lost, f"{name} has {lost} pixels that are not finite and not masked")


@check(
    fix="Put into meta: object_id (a str that no other object of the survey has), and where known "
    "ra and dec (deg, ICRS), redshift (a number), quality (Quality bits)."
)
def describes_objects(subject):
    """Each object has an identifier of its own; position, redshift and quality make sense."""
    seen, objects = set(), subject.needs(reads_objects)
    if not all(isinstance(obj, NDData) for obj in objects):
        raise NotApplicable("its objects are no spectra or images; their modality describes them")
    for i, obj in enumerate(objects):
        meta = obj.meta or {}
        name = meta.get("object_id")
        require(isinstance(name, str) and name.strip(), f"object {i} has object_id {name!r}")
        require(name not in seen, f"two objects have object_id {name!r}")
        seen.add(name)
        ra, dec, redshift = (_number(name, meta, key) for key in ("ra", "dec", "redshift"))
        require(np.isnan(ra) == np.isnan(dec), f"{name} has ra {ra} and dec {dec}")
        require(np.isnan(ra) or 0 <= ra <= 360, f"{name} has ra {ra}")
        require(np.isnan(dec) or -90 <= dec <= 90, f"{name} has dec {dec}")
        require(np.isnan(redshift) or redshift > -1, f"{name} has redshift {redshift}")
        quality = meta.get("quality", Quality.GOOD)
        known = isinstance(quality, int | np.integer) and not int(quality) & ~_all_bits()
        require(known, f"{name} has quality {quality!r}")


@check(
    fix="The message says what is wrong with the object. Compare with docs/data.md: what is done "
    "to spectra and images, and what is refused."
)
def embeds(subject):
    """Every object of the example files gets a vector, in order and under its name."""
    objects = subject.needs(reads_objects)
    modality = subject.entry.modality
    if modality not in aa.load_model("astroclip-mini").modalities:
        raise NotApplicable(f"the bundled model does not embed {modality} data")
    try:
        vectors = _embedded(subject)
    except AstroclipError as error:
        require(False, str(error))
    names = vectors.object_id.values.tolist()
    require(len(names) == len(objects), f"{len(objects)} objects gave {len(names)} vectors")
    for obj, name in zip(objects, names, strict=True):
        given = (obj.meta or {}).get("object_id", name)
        require(str(given) == name, f"object {given!r} became {name!r}")
    lost = ~vectors.astroclip.valid.values
    require(not lost.any(), f"{', '.join(np.array(names)[lost][:3])}: NOT_EMBEDDED")
    return vectors


@check(fix="Let read depend on nothing but the file: no random numbers, no state, no clock.")
def gives_the_same_vector_twice(subject):
    """The same file read and embedded again gives the same vectors."""
    first = subject.needs(embeds).values
    second = _embedded(subject).values
    same = first.shape == second.shape and np.allclose(first, second, rtol=0, atol=1e-5)
    require(same, "its vectors are others at the second time")


def _files(subject):
    example = subject.example
    if example is None:
        raise NotApplicable(
            "no example file: give --example FILE, or parametrize_with_checks(…, example=…)"
        )
    paths = [example] if isinstance(example, str | os.PathLike) else list(example)
    paths = [Path(path) for path in paths]
    missing = [str(path) for path in paths if not path.is_file()]
    require(paths and not missing, f"there is no example file {', '.join(missing)}")
    return paths


def _identified(survey, path):
    """What `identify` says, if it says it in time and as a bool."""
    with opened(path) as hdulist:
        claim = within(time_limit(os.environ), survey.identify, path, hdulist)
    plain = isinstance(claim, bool | np.bool_)
    require(plain, f"identify returned {claim!r} for {path.name}, expected True or False")
    return bool(claim)


def _pixels(subject):
    return [*_named(subject, Spectrum), *_named(subject, NDData)]


def _named(subject, cls):
    """Objects of a class, with a name for messages; a spectrum is none of images' NDData."""
    for i, obj in enumerate(subject.needs(reads_objects)):
        if isinstance(obj, Spectrum if cls is Spectrum else NDData):
            if cls is NDData and isinstance(obj, Spectrum):
                continue
            yield str((obj.meta or {}).get("object_id") or f"object {i}"), obj


def _number(name, meta, key):
    value = meta.get(key)
    if value is None:
        return np.nan
    try:
        return float(u.Quantity(value, u.one if key == "redshift" else u.deg).value)
    except (TypeError, ValueError) as error:
        require(False, f"{name} has {key} {value!r}: {error}")


def _all_bits():
    return sum(int(bit) for bit in Quality)


def _embedded(subject):
    paths = _files(subject)
    return aa.embed(paths, model="astroclip-mini", survey=subject.entry.name, errors="raise")


CHECKS = (
    is_a_survey,
    refuses_foreign_files,
    recognises_its_files,
    reads_objects,
    gives_units,
    gives_uncertainties,
    masks_bad_pixels,
    describes_objects,
    embeds,
    gives_the_same_vector_twice,
)

"""Parts of the sky: HEALPix cells that cover them, which an index knows, and what is inside."""

import numpy as np
from astropy import units as u
from astropy.coordinates import Latitude, Longitude
from astropy_healpix import HEALPix

from astroclip_astro.errors import InputError
from astroclip_astro.sky import angle, position, separation

__all__ = ["Cone", "Region", "healpix_29"]

_ORDER = 29  # of the cells that rows are sorted by, of 0.4 mas: HATS's ``_healpix_29``
_REGION_ORDER = 16  # of the cells, of 3.2 arcsec, that outlines of regions are resolved to
_WIDE = 60  # deg; mocpy 0.21 leaves out parts of cones of 170 deg, and little is gained by then
_MOST_RANGES = 64  # more make a filter slower to read than the rows that it saves


def healpix_29(ra, dec):
    """Nested HEALPix cells of order 29.

    Parameters
    ----------
    ra, dec : numpy.ndarray
        ICRS, deg, shape (n,); NaN where unknown.

    Returns
    -------
    numpy.ma.MaskedArray
        Shape (n,), int64, masked where a coordinate is unknown.

    Notes
    -----
    Górski et al. 2005, ApJ 622, 759; the index is that of HATS, ``_healpix_29``,
    https://hats.readthedocs.io.

    Examples
    --------
    >>> import numpy as np
    >>> from astroclip_astro.catalog.sky import healpix_29
    >>> healpix_29(np.array([150.0, np.nan]), np.array([2.0, 2.0])).tolist()
    [1918115933162420084, None]
    """
    known = np.isfinite(ra) & np.isfinite(dec)
    cells = HEALPix(nside=2**_ORDER, order="nested").lonlat_to_healpix(
        np.where(known, ra, 0) * u.deg, np.where(known, dec, 0) * u.deg
    )
    return np.ma.array(cells.astype(np.int64), mask=~known)


class Cone:
    """What is within a radius of a position.

    Parameters
    ----------
    center : astropy.coordinates.SkyCoord
        A single position, in any frame that can be transformed to ICRS.
    radius : astropy.units.Quantity or str
        Angle above 0 and up to 180 deg.

    Raises
    ------
    InputError
        If one of them is something else.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_astro.catalog.sky import Cone
    >>> cone = Cone(SkyCoord(150 * u.deg, 2 * u.deg), 1 * u.deg)
    >>> cone.contains(np.array([150.9, 151.1]), np.array([2.0, 2.0]))
    array([ True, False])
    """

    def __init__(self, center, radius):
        self.ra, self.dec = position(center)
        self.radius = angle(radius)

    def contains(self, ra, dec):
        """Which positions are inside.

        Parameters
        ----------
        ra, dec : numpy.ndarray
            ICRS, deg, shape (n,).

        Returns
        -------
        numpy.ndarray
            Shape (n,), bool; not where a coordinate is NaN.
        """
        return self.separation(ra, dec) <= self.radius.value

    def separation(self, ra, dec):
        """Distances on the sky from the centre.

        Parameters
        ----------
        ra, dec : numpy.ndarray
            ICRS, deg, shape (n,).

        Returns
        -------
        numpy.ndarray
            Shape (n,), deg.
        """
        return separation(self.ra, self.dec, ra, dec)

    def ranges(self):
        """Cells that cover it, and hardly more.

        Returns
        -------
        numpy.ndarray
            First cells of `healpix_29`, and the first ones beyond, shape (n, 2), int64.
        """
        from mocpy import MOC

        if self.radius.value > _WIDE:
            return np.array([[0, 12 * 4**_ORDER]])
        # Cells of about a quarter of the radius; those of order 0 are 58.6 deg wide.
        order = int(np.clip(np.ceil(np.log2(58.6 / (self.radius.value / 4))), 0, _ORDER - 2))
        cone = MOC.from_cone(
            lon=Longitude(self.ra, u.deg),
            lat=Latitude(self.dec, u.deg),
            radius=self.radius,
            max_depth=order,
        )
        return _few_ranges(cone)


class Region:
    """What is within an outline.

    Parameters
    ----------
    region : mocpy.MOC or regions.SkyRegion
        A coverage map, or a region of the package ``regions``, whose outline is resolved to
        HEALPix cells of order 16, 3.2 arcsec: all that touch it belong to it.

    Raises
    ------
    InputError
        If it is something else, or empty.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy import units as u
    >>> from astropy.coordinates import SkyCoord
    >>> from astroclip_astro.catalog.sky import Region
    >>> from mocpy import MOC
    >>> corners = SkyCoord([149, 151, 151, 149] * u.deg, [1, 1, 3, 3] * u.deg)
    >>> field = Region(MOC.from_polygon_skycoord(corners, max_depth=12))
    >>> field.contains(np.array([150.7, 151.3]), np.array([2.0, 2.0]))
    array([ True, False])
    """

    def __init__(self, region):
        from mocpy import MOC

        if isinstance(region, MOC):
            self.moc = region
        elif type(region).__module__.partition(".")[0] == "regions":
            try:
                self.moc = MOC.from_astropy_regions(region, _REGION_ORDER)
            except (AttributeError, TypeError, ValueError) as error:
                raise InputError(
                    f"region is a {type(region).__name__}, which no coverage can be made of: "
                    "expected a region on the sky"
                ) from error
        else:
            raise InputError(
                f"region is a {type(region).__name__}: expected a mocpy.MOC or a SkyRegion"
            )
        if self.moc.empty():
            raise InputError("region is empty: expected some part of the sky")

    def contains(self, ra, dec):
        """Which positions are inside.

        Parameters
        ----------
        ra, dec : numpy.ndarray
            ICRS, deg, shape (n,).

        Returns
        -------
        numpy.ndarray
            Shape (n,), bool; not where a coordinate is NaN.
        """
        known = np.isfinite(ra) & np.isfinite(dec)
        inside = np.zeros(len(ra), bool)
        inside[known] = self.moc.contains_lonlat(ra[known] * u.deg, dec[known] * u.deg)
        return inside

    def ranges(self):
        """Cells that cover it, and hardly more.

        Returns
        -------
        numpy.ndarray
            First cells of `healpix_29`, and the first ones beyond, shape (n, 2), int64.
        """
        return _few_ranges(self.moc)


def _few_ranges(moc):
    """Ranges of cells of order 29 that cover a MOC, of coarser cells where there would be many."""
    order = moc.max_order
    while len(ranges := moc.to_depth29_ranges) > _MOST_RANGES and order > 0:
        order -= 1
        moc = moc.degrade_to_order(order)
    return ranges.astype(np.int64)

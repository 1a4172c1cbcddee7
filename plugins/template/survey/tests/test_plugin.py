"""What every survey promises, tried with a file of it; and that its numbers are read."""

import numpy as np
from astropy import units as u
from astropy.table import QTable

from astroclip_astro.surveys.files import read
from astroclip_astro.testing import parametrize_with_checks

FLUX = 10**-17 * u.erg / u.s / u.cm**2 / u.AA


def write_example(folder):
    """A file as the survey has it; better: return a small real one, kept beside this module."""
    rng = np.random.default_rng(0)
    wavelength = np.linspace(3600, 9800, 4000) * u.AA
    table = QTable({"wavelength": wavelength, "flux": rng.normal(5, 1, 4000) * FLUX})
    table["ivar"] = np.ones(4000) / FLUX**2
    table.meta.update(SURVEY="my-plugin", OBJECT="galaxy-1", RA=150.1, DEC=2.2, Z=0.1)
    table.write(folder / "galaxy-1.fits")
    return folder / "galaxy-1.fits"


@parametrize_with_checks("my-plugin", example=write_example)
def test_plugin(check):
    check()


def test_numbers_are_those_in_the_file(tmp_path):
    path = write_example(tmp_path)
    (spectrum,) = read(path, survey="my-plugin")
    np.testing.assert_array_equal(spectrum.flux, QTable.read(path)["flux"])
    assert spectrum.meta["redshift"] == 0.1

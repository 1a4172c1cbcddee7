"""What every modality promises; and that the numbers are right."""

import numpy as np
from astroclip_my_plugin.modality import MyPluginModality, MyPluginPreprocessing
from astropy import units as u
from astropy.table import QTable

from astroclip_astro.adapters.records import FailedRecord
from astroclip_astro.testing import parametrize_with_checks


def example(folder):
    """Three galaxies."""
    table = QTable({"object_id": ["a", "b", "c"], "g": [22.5, 20.0, 19.0] * u.ABmag})
    table["r"] = [20.0, 19.5, 18.5] * u.ABmag
    table["z"] = [19.0, 19.0, 18.0] * u.ABmag
    return table


@parametrize_with_checks("my-plugin", example=example)
def test_plugin(check):
    check()


def test_numbers_are_nanomaggies_and_nothing_is_made_up(tmp_path):
    table = example(tmp_path)
    table["z"][1] = np.nan * u.ABmag
    good, bad, _ = MyPluginModality().records(table, preprocessing=MyPluginPreprocessing())
    np.testing.assert_allclose(good.flux, [1, 10, 10**1.4])
    assert isinstance(bad, FailedRecord)
    assert "not finite" in bad.reason

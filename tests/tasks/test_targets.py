"""What is to be learned, out of whatever holds it: values, names, units, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.time import Time
from astropy.utils.masked import Masked

from astroclip_astro.errors import InputError
from astroclip_astro.tasks.targets import read_targets

NUMBERS = np.array([1.0, 2.5, -3.0])
TABLE = QTable({"age": NUMBERS * u.Gyr, "mass": u.Dex(NUMBERS, u.dex(u.solMass)), "z": NUMBERS})


@pytest.mark.parametrize(
    ("given", "name", "unit"),
    [
        (NUMBERS, "value", ""),
        (NUMBERS.tolist(), "value", ""),
        (NUMBERS.astype(np.float32), "value", ""),
        (NUMBERS.astype(">f8"), "value", ""),
        (NUMBERS.astype(object), "value", ""),
        (NUMBERS * u.Gyr, "value", "Gyr"),
        (NUMBERS * u.dex, "value", "dex"),
        (NUMBERS * u.percent, "value", "%"),
        (u.Dex(NUMBERS, u.dex(u.solMass)), "value", "dex(solMass)"),
        (u.Magnitude(NUMBERS, u.ABmag), "value", "mag(AB)"),
        (Masked(NUMBERS * u.Gyr, mask=False), "value", "Gyr"),
        (np.ma.MaskedArray(NUMBERS, mask=[False] * 3), "value", ""),
        (Column(NUMBERS, name="age", unit="Gyr"), "age", "Gyr"),
        (MaskedColumn(NUMBERS, name="age", unit="Gyr"), "age", "Gyr"),
        (TABLE["age"], "age", "Gyr"),
        (TABLE["mass"], "mass", "dex(solMass)"),
        (Table({"age": NUMBERS}), "age", ""),
        (QTable({"age": NUMBERS * u.Gyr}), "age", "Gyr"),
        (pd.Series(NUMBERS, name="age"), "value", ""),
    ],
)
def test_one_quantity(given, name, unit):
    values, names, units = read_targets(given)
    assert values.dtype == np.float64
    assert values.dtype.isnative
    np.testing.assert_array_equal(values, NUMBERS[:, None])
    assert (names, units) == ([name], [unit])
    # A table written with these units reads them back.
    assert u.Unit(units[0]) == u.Unit(unit)


def test_several_quantities():
    values, names, units = read_targets(TABLE)
    np.testing.assert_array_equal(values, np.stack([NUMBERS] * 3, axis=1))
    assert names == ["age", "mass", "z"]
    assert units == ["Gyr", "dex(solMass)", ""]
    for given, unit in (
        (np.stack([NUMBERS, 2 * NUMBERS], axis=1), ""),
        (np.stack([NUMBERS, 2 * NUMBERS], axis=1) * u.Gyr, "Gyr"),
        # Columns that are called like attributes of astropy's arrays are columns all the same.
        (pd.DataFrame({"unit": NUMBERS, "mask": 2 * NUMBERS}), ""),
    ):
        values, names, units = read_targets(given)
        np.testing.assert_array_equal(values, NUMBERS[:, None] * [1, 2])
        assert (names, units) == (["value_0", "value_1"], [unit] * 2)


def test_integers_and_truth_values_are_numbers():
    np.testing.assert_array_equal(read_targets(np.array([3, 1], np.uint8))[0], [[3], [1]])
    np.testing.assert_array_equal(read_targets([True, False])[0], [[1], [0]])


def test_what_is_given_stays_as_it_is():
    given = Masked(NUMBERS.copy() * u.Gyr, mask=False)
    read_targets(given)[0][:] = 7
    np.testing.assert_array_equal(given.unmasked.value, NUMBERS)


@pytest.mark.parametrize(
    "given",
    [
        [1.0, np.nan, np.inf],
        [1.0, -np.inf, np.nan] * u.Gyr,
        np.ma.MaskedArray(NUMBERS, mask=[False, True, True]),
        MaskedColumn(NUMBERS, name="value", mask=[False, True, True]),
        Masked(NUMBERS * u.Gyr, mask=[False, True, True]),
        QTable({"a": NUMBERS, "value": Masked(NUMBERS * u.Gyr, mask=[False, True, True])}),
        np.array([1.0, None, None], object),
        pd.Series([1.0, np.nan, np.nan]),
    ],
)
def test_objects_without_a_value_are_named(given):
    message = "its value is masked, NaN or infinite, as is some value of 2 of 3 objects.*leave them"
    with pytest.raises(InputError, match=f"^NGC 2: {message}"):
        read_targets(given, np.array(["NGC 1", "NGC 2", ""]))
    with pytest.raises(InputError, match=f"^row 1: {message}"):
        read_targets(given, np.array(["NGC 1", "", ""]))
    with pytest.raises(InputError, match=f"^row 1: {message}"):
        read_targets(given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a", "b"], "y holds <U1: expected numbers"),
        (["1.0", "2.0"], "y holds <U3: expected numbers"),
        ([1j, 2.0], "y holds complex128: expected numbers"),
        (np.array(["2020-01-01"], "datetime64[D]"), "y holds datetime64"),
        ([{}, 2.0], "y holds object: expected numbers"),
        (Time([2000.0, 2001.0], format="jyear"), "y holds object: expected numbers"),
        (Table({"z": [1.0], "kind": ["E"]}), "kind holds <U1: expected numbers"),
        (Table({"z": [1.0], "pdf": [[1.0, 2.0]]}), r"columns \['pdf'\]: expected one number per"),
        (Table(), "columns none: expected one number per object"),
        (3.0, r"y of shape \(\): expected \(n,\) or \(n, quantity\)"),
        (np.ones((2, 3, 4)), r"y of shape \(2, 3, 4\): expected"),
        (np.ones((2, 0)), r"y of shape \(2, 0\): expected"),
    ],
)
def test_what_is_no_number_per_object_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        read_targets(given)

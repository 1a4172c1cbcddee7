"""Measures of redshifts: against normal distributions with outliers."""

import numpy as np
import pytest

from astroclip_astro.tasks import metrics


def test_redshift_measures():
    rng = np.random.default_rng(0)
    z = rng.uniform(0, 1, 20_000)
    found = z + (1 + z) * (0.02 * rng.normal(size=z.size) + 0.005)
    found[:1000] = z[:1000] + 0.5 * (1 + z[:1000])
    assert metrics.sigma_nmad(z, found) == pytest.approx(0.0214, abs=0.001)
    assert metrics.outlier_fraction(z, found) == pytest.approx(0.05, abs=1e-3)
    assert metrics.bias(z, found) == pytest.approx(0.0063, abs=1e-3)
    nothing = np.full(3, np.nan)
    assert np.isnan(metrics.sigma_nmad(nothing, nothing))
    assert np.isnan(metrics.bias(nothing, nothing))

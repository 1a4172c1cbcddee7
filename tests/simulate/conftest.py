"""A small mock survey shared by the tests, and a galaxy that tests can vary."""

from importlib.util import find_spec

import numpy as np
import pytest

# Of these objects number 3 is a star and number 6 a quasar; all samples are there.
N, SHARD_SIZE, SEED = 14, 6, 88


@pytest.fixture(scope="session", autouse=True)
def _simulation_packages():
    # Looked up rather than imported: bagpipes warns about files that it leaves open.
    for package in ("bagpipes", "dust_extinction", "galsim", "speclite"):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")


@pytest.fixture(scope="session")
def survey(tmp_path_factory):
    from astroclip_astro.simulate import MockSurvey

    path = tmp_path_factory.mktemp("mocks")
    return MockSurvey.generate(path, N, seed=SEED, n_jobs=1, shard_size=SHARD_SIZE, progress=False)


@pytest.fixture
def galaxy():
    """A dust-free, star-forming galaxy of 10^10 solar masses at z = 0.1 without second episode."""
    from astroclip_astro.simulate.population import Galaxy

    return Galaxy(
        redshift=0.1,
        log_mass=10.0,
        quiescent=False,
        start_age=8.0,
        tau=4.0,
        episode_fraction=1e-7,
        episode_ages=(0.0, 0.1),
        metallicity=0.8,
        gas_metallicity=0.8,
        log_u=-2.8,
        ionising_fraction=1.0,
        a_v=0.0,
        stellar_dispersion=90.0,
        gas_dispersion=60.0,
        nuclear_lines="",
        nuclear_width=0.0,
        r_half=5.0,
        bulge_to_total=0.3,
        bulge_size=0.4,
        disc_axis_ratio=0.4,
        bulge_axis_ratio=0.8,
        position_angle=30.0,
        n_knots=0,
        knot_fraction=0.0,
        n_arms=0,
        arm_fraction=0.0,
        arm_pitch=20.0,
        bar_fraction=0.0,
    )


@pytest.fixture
def sharp():
    """Nearly perfect seeing, so that the light profile shows."""
    from astroclip_astro.simulate.images import ObservingConditions

    return ObservingConditions(seeing=np.full(3, 0.5), depth=np.full(3, 24.0))

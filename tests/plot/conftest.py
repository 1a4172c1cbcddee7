"""What tests of figures share."""

import pytest
from matplotlib import pyplot as plt

from astroclip_astro.simulate import MockSurvey


@pytest.fixture(scope="session")
def survey():
    return MockSurvey.bundled()


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")

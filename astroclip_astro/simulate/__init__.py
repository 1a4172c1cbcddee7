"""Mock survey: galaxy spectra and images with known physics and realistic noise.

`MockSurvey.generate` makes one, `MockSurvey.open` reads one, and ``python -m
astroclip_astro.simulate`` does the first from a shell. It needs the optional packages of ``pip
install astroclip_astro[simulate]``; none of them is imported before a galaxy is simulated.

The recipe, one line for each module: `relations` are published scaling relations, `population`
draws galaxies along them from magnitude-limited samples, `spectra` turns them into light with
bagpipes, `structure` and `images` into pixels with GalSim, `contaminants` are stars and quasars,
`noise` observes the spectra like DESI, `recipe` ties one object together and `survey` stores many.
"""

from astroclip_astro.simulate.recipe import MockGalaxy, simulate_galaxy
from astroclip_astro.simulate.survey import MockSurvey, observe

__all__ = ["MockGalaxy", "MockSurvey", "observe", "simulate_galaxy"]

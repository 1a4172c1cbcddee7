"""Mock survey: galaxy spectra and images with known physics, realistic noise and any number of views.

`MockSurvey.generate` makes one, `MockSurvey.open` reads one. It needs the optional packages of
``pip install astroclip_astro[simulate]``; nothing of them is imported before a galaxy is simulated.

The recipe in one line each: `population` draws galaxies from a magnitude-limited volume along
published scaling relations, `spectra` turns them into light with bagpipes, `images` into pixels with
GalSim, `noise` observes the spectra like DESI, `recipe` ties one object together and `survey` stores
many.
"""

from astroclip_astro.simulate.recipe import MockGalaxy, simulate_galaxy
from astroclip_astro.simulate.survey import MockSurvey

__all__ = ["MockGalaxy", "MockSurvey", "simulate_galaxy"]

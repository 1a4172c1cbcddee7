"""Where the packages are; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

# The recipes of catalogs have a folder of their own in a checkout, and are installed as a part of
# the package.
setup(
    packages=[*find_packages(include=["astroclip_astro*"]), "astroclip_astro.catalogs"],
    package_dir={"astroclip_astro.catalogs": "catalogs"},
)

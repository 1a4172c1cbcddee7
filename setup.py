"""Where the packages are; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

# The recipes of catalogs and the templates of plugins have folders of their own in a checkout, and
# are installed as parts of the package.
elsewhere = {
    "astroclip_astro.catalogs": "catalogs",
    "astroclip_astro.template": "plugins/template",
}

setup(packages=[*find_packages(include=["astroclip_astro*"]), *elsewhere], package_dir=elsewhere)

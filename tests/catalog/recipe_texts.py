"""Recipes, as text to which more can be added."""

HEAD = """
name = "mine"
title = "My galaxies"
summary = "Some of them."
licence = "CC-BY-4.0"
citation = "me"
model = "astroclip-mini"
modalities = ["image", "spectrum"]
"""
MOCKS = HEAD + '[[sources]]\nname = "mocks"\nkind = "mocks"\n'
FILES = HEAD + '[[sources]]\nname = "files"\nkind = "files"\n'
TABLE = HEAD + '[[sources]]\nname = "table"\nkind = "table"\n'

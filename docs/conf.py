"""Sphinx: these pages and the docstrings as HTML."""

import os
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.addnodes import download_reference, pending_xref
from sphinx.transforms import SphinxTransform

project = "astroclip_astro"
author = "The astroclip_astro developers"
copyright = author
release = version = installed_version(project)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx_automodapi.automodapi",
    "numpydoc",
]
default_role = "obj"  # single backticks in docstrings are names
exclude_patterns = ["_build"]

# Sections of pages are linked by the anchors that repository viewers give them.
myst_heading_anchors = 3

numpydoc_show_class_members = False  # automodapi lists them
automodapi_inheritance_diagram = False
autodoc_typehints = "none"

# Inventories come from the network, so links to other projects' pages are for those who ask.
intersphinx_mapping = (
    {
        "python": ("https://docs.python.org/3", None),
        "astropy": ("https://docs.astropy.org/en/stable", None),
        "numpy": ("https://numpy.org/doc/stable", None),
        "specutils": ("https://specutils.readthedocs.io/en/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
        "xarray": ("https://docs.xarray.dev/en/stable", None),
    }
    if os.environ.get("ASTROCLIP_DOCS_INTERSPHINX")
    else {}
)

html_theme = "pydata_sphinx_theme"
html_title = f"{project} {release}"
html_theme_options = {"show_prev_next": False, "primary_sidebar_end": []}


class OutsideDocs(SphinxTransform):
    """Links to Markdown beside docs/, such as READMEs of plugins, are downloads as other files are.

    MyST takes every file of a page's suffix for a page.
    """

    default_priority = 5

    def apply(self, **kwargs):
        for link in list(self.document.findall(pending_xref)):
            target = Path(f"{link['reftarget']}.md")
            if link.get("reftype") == "myst" and target.is_absolute() and target.is_file():
                folder = Path(self.env.doc2path(link["refdoc"])).parent
                file = os.path.relpath(target, folder)
                attributes = link.attributes | {"refdomain": None, "reftarget": file}
                link.replace_self(download_reference("", "", *link.children, **attributes))


def summary_of_foreign_methods(app, what, name, obj, options, lines):
    """What scikit-learn puts into heads is explained, and its references lead, in its own pages."""
    if what == "method" and getattr(obj, "__module__", "").startswith("sklearn."):
        del lines[1:]


def sidebar_of_sections(app, pagename, templatename, context, doctree):
    """A page that is no section of several has nothing to list beside it."""
    includes = app.env.toctree_includes
    if pagename in includes[app.config.root_doc] and pagename not in includes:
        context["sidebars"] = []


def setup(app):
    app.add_transform(OutsideDocs)
    app.connect("html-page-context", sidebar_of_sections)
    # Before numpydoc makes reStructuredText of them.
    app.connect("autodoc-process-docstring", summary_of_foreign_methods, priority=100)

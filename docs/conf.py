"""How the documentation is built: `make docs`.

The build needs no network. Names of other libraries are turned into links by a table, not by
inventories fetched from their sites.
"""

from __future__ import annotations

import builtins
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import sphinx_autosummary_accessors
from docutils import nodes
from sphinx.util import logging

import xarray_omezarr  # registers the accessor, which the reference describes

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

project = "xarray-omezarr"
author = "xarray-omezarr developers"
copyright = "xarray-omezarr developers"  # noqa: A001 (Sphinx's name)
release = version = importlib.metadata.version(xarray_omezarr.__name__)

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "myst_nb",
    "numpydoc",
    "sphinx_autosummary_accessors",
    "sphinx_copybutton",
    "sphinx_design",
]
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]
exclude_patterns = ["_build", "jupyter_execute"]
nitpicky = True
# What classes share without being anything of their own.
nitpick_ignore_regex = [
    ("py:class", r"xarray_omezarr\..*\._\w+|abc\.ABC|collections\.abc\.Mapping")
]

# Pages are executed at every build, each in a directory of its own; an error in one fails it.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
# Pages call the command of the environment that builds them.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
# Seconds, for a cell: ten times what the longest one takes, since machines may be busy.
nb_execution_timeout = 180
# Warnings of the code on a page are part of what it shows.
nb_output_stderr = "show"
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say it, with shapes and units
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

html_theme = "pydata_sphinx_theme"
html_title = "xarray-omezarr"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 5,
    "search_as_you_type": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
html_show_sourcelink = False
# Pages that have none beside them, in whose place there would be an empty column.
html_sidebars = {
    page: [] for page in ("start", "compared", "whats-new", "benchmarks", "design", "changelog")
}

LOG = logging.getLogger(__name__)

#: Where the names of other libraries are described.
ELSEWHERE = {
    "xarray": "https://docs.xarray.dev/en/stable/generated/{name}.html",
    "dask.delayed": "https://docs.dask.org/en/stable/delayed-api.html#{name}",
}


def link_elsewhere(
    _app: Sphinx, _env: BuildEnvironment, reference: pending_xref, text: nodes.TextElement
) -> nodes.reference | None:
    """Turn the name of another library, or of Python's own, into a link."""
    name = reference.get("reftarget", "")
    if reference.get("refdomain") != "py":
        return None
    builtin = getattr(builtins, name, None)
    if isinstance(builtin, type):
        page = "exceptions" if issubclass(builtin, BaseException) else "functions"
        url = f"https://docs.python.org/3/library/{page}.html#{name}"
    else:
        found = (url for start, url in ELSEWHERE.items() if f"{name}.".startswith(f"{start}."))
        # Where a class was defined is not where it is described.
        url = next(found, "").format(name=name.replace(".backends.common.", ".backends."))
    return nodes.reference("", "", text, internal=False, refuri=url) if url else None


def tell_times(_app: Sphinx, env: BuildEnvironment) -> None:
    """Say how long the pages of the gallery took to run, which their readers are told."""
    for name, found in getattr(env, "nb_metadata", {}).items():
        ran = found.get("exec_data")
        if name.startswith("gallery/") and ran:
            LOG.info("%s took %.0f s to run", name, ran["runtime"])


def setup(app: Sphinx) -> None:
    """Connect what this file adds to Sphinx."""
    app.connect("missing-reference", link_elsewhere)
    app.connect("env-updated", tell_times)

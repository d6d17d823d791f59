"""Builds the documentation site: `make docs` (Sphinx, Markdown by MyST); a warning is an error."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import generate

generate.main()

project = "mayfly"
author = "the mayfly authors"
version = release = version_of("mayfly")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "mayfly"
autodoc_typehints = "description"
napoleon_google_docstring = True

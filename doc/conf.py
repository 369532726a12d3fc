"""Sphinx: ``pip install ".[docs]"`` and ``sphinx-build doc doc/_build``."""

from sklearn_influence import __version__

project = "sklearn_influence"
author = copyright = "The sklearn_influence developers"
version = release = __version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc"]
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "sidebar_width": "250px"}
exclude_patterns = ["_build"]
autosummary_generate = True
numpydoc_show_class_members = False

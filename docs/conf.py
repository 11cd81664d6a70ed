"""Configuration of Sphinx."""

import fastem

project = "fastem"
author = "The fastem developers"
copyright = "2026, The fastem developers"
release = fastem.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc"]
html_theme = "pydata_sphinx_theme"
html_title = "fastem"
html_theme_options = {"show_toc_level": 2}
exclude_patterns = ["_build"]
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = True
numpydoc_class_members_toctree = False
numpydoc_validation_checks = {"GL03", "GL06", "GL07", "PR01", "PR02", "PR03", "PR10", "SS03"}
numpydoc_validation_exclude = {
    r"fastem\.Iteration",
    r"fastem\.PassProgress",
    r"fastem\.estimators\.conditional\.",
    r"fastem\.families\.\w+\.",  # methods of families, which authors of families read
    r"fastem\.FixedMixture\.(sample|save|impute)$",
    r"fastem\.sources\.",
    r"fastem\.kernels\.",
    r"\.set_.*_request$",
    r"\.get_metadata_routing$",
    r"\.get_params$",
    r"\.set_params$",
}

"""How Sphinx builds the site that `docs/make_site.py` puts together."""

from prototxt.version import VERSION

project = "resnet-convert"
release = VERSION
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "member-order": "bysource"}
napoleon_google_docstring = True
napoleon_use_ivar = True
maximum_signature_line_length = 90
smartquotes = False  # "--to" is an option
html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_title = f"{project} {VERSION}"
html_copy_source = False
html_show_sphinx = False
# A prototxt is no language that pygments knows, and what commands print is none at all.
highlight_language = "none"

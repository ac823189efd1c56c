"""Makes the reference pages of the documentation from the code: ``python -m tools.reference FOLDER`` writes them.

MkDocs makes the same pages while it builds the site (:mod:`tools.mkdocs_hook`). What the pages say stands in the
code once: keys and payloads in the docstrings of their structs, commands in their parsers, metrics in the daemon.
"""

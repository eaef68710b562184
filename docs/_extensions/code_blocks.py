"""Blocks of code without an empty line at their end.

The text of a block ends in a newline, and Pygments shows that of a Python session as one more line.
"""

from docutils import nodes


def _strip(app, doctree):
    for block in doctree.findall(nodes.literal_block):
        text = block.astext().rstrip("\n")
        if block.rawsource == block.astext():
            block.rawsource = text
            block[:] = [nodes.Text(text)]


def setup(app):
    """Called by Sphinx."""
    app.connect("doctree-read", _strip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

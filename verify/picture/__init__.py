"""The picture of a net: boxes within boxes, where they stand, and what it looks like as a page, as SVG and as DOT."""

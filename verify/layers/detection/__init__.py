"""Layers of detectors: prior boxes, proposals, regions of interest, suppression."""

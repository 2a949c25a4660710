"""Errors that were published, and when a measured one agrees."""

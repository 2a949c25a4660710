"""The version of all five packages; setup.py reads it here."""

VERSION = "0.1.0"

"""Measurements: reproducible, each against a reference in the same run (never in a timed test)."""

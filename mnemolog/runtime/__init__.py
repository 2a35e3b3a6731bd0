"""Composition: the only place that imports everything, reads configuration, the clock and the system's randomness."""

"""Processes of the distributed runtime, killed one at a time under load, and what must be true afterwards."""

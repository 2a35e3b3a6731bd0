"""The language of mnemolog, pure: no I/O, no clock, no randomness, no environment.

Reading order: `ids` → `record` → `chain` → one aggregate (`session`) → `decider` → `ports`.
"""

"""The proof: what the log says about the past, and whether all that is read from it agrees with it (design §8)."""

"""The middle: what turns commands into facts, and what proposes commands by itself."""

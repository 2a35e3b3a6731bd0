"""The right side: facts become views and vectors, and queries read them."""

"""Load: agents that live with a server of either runtime over HTTP, for as long as one wants to watch it."""

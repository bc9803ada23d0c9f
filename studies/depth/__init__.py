"""How deep in the network an answer settles, where samples exit, and whether a smaller network is enough."""

"""A search from its configuration to its folder; read ``searching`` first."""

"""Configuration to objects: the only place that knows all floors at once."""

"""Featurizers: from payloads to the views that models eat, and the payload classes themselves.

numpy only, so that a bundle can be run without torch. A featurizer knows payloads (``Events``, ``Rows``),
never the task that made them.
"""

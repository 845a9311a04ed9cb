"""Tasks: one prediction problem and its publisher's files each; see ``ehrbench.core.task``."""

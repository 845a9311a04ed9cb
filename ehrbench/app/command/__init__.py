"""The command ``ehrbench``: what is typed, and what it answers."""

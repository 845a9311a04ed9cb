"""The monitor: what a served bundle's predictions say of it, with outcomes and before they are known.

``observed`` is what it looks at, ``drift`` compares described values with the bundle's profile at every look,
``labelled`` judges by outcomes as they arrive, ``expected`` estimates before they do, ``monitoring`` puts it
together. It takes arrays, so that a server, a command and a benchmark ask it alike; it knows no database.
"""

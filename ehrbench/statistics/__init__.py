"""Statistics of finished predictions: resampling, intervals, paired tests, curves, subgroups, slices.

Takes arrays, groups and ``core.Metric`` objects; knows no search, no run's folder, no page and no file, so
that whoever has predictions and labels (a report, a gate, a monitor) gets the same figures by the same code.
"""

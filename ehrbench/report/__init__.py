"""Report: a run folder made into one page, a model card, or one page for several runs.

Everything here is a function of what a search leaves in its folder (``run.read_run``); nothing is trained,
predicted or looked up elsewhere, and the same folder and seed give the same figures.
"""

from ehrbench.report.attempts import Attempts, failures
from ehrbench.report.card import model_card
from ehrbench.report.cards import write_model_card
from ehrbench.report.compare import compare_runs
from ehrbench.report.page import write_report

__all__ = ["Attempts", "compare_runs", "failures", "model_card", "write_model_card", "write_report"]

"""TRIPOD+AI: which of its 27 items this page answers, and which only the authors can.

Collins et al. 2024, "TRIPOD+AI statement", BMJ 385:e078378. Items in our own words; a page made by a program
cannot answer for ethics, funding or the setting, and says so rather than leaving the reader to search.
"""

from __future__ import annotations

from dataclasses import dataclass

from ehrbench.report.run import Run


@dataclass(frozen=True)
class Item:
    """answered: ``yes``, ``part`` or ``no``; where: the section, or what is left to the authors."""

    number: str
    topic: str
    answered: str
    where: str


_ITEMS = (
    ("1", "Title", "no", "the authors' to write; task and protocol stand at the head of this page"),
    ("2", "Abstract", "no", "the authors' to write; the headline gives its figures"),
    ("3a–c", "Background: context, intended use, known inequalities", "no", "the authors'"),
    ("4", "Objectives: development, evaluation or both", "part", "Headline: the protocol says which"),
    ("5a", "Sources of data", "part", "Data flow: the publisher's sets; the rest is the authors'"),
    ("5b", "Dates of data collection", "no", "not in the files read"),
    ("6a–c", "Participants: setting, eligibility, treatments", "part", "Data flow: what was dropped and why"),
    ("7", "Data preparation", "part", "Data flow; config.yaml names every step and setting"),
    ("8a–c", "Outcome: definition, assessors, blinding", "part", "Cohort: counts; defined by the task"),
    ("9a–c", "Predictors", "part", "config.yaml: the featurizer of each model"),
    ("10", "Sample size", "part", "Models: smallest difference this study could detect"),
    ("11", "Missing data", "part", "Cohort: flags; config.yaml: the featurizers"),
    ("12a", "How the data were used (development, evaluation)", "yes", "Headline, Provenance: folds"),
    ("12b", "How predictors were handled", "part", "config.yaml: the featurizer of each model"),
    ("12c", "Model type, building, tuning, internal validation", "yes", "Search, Provenance, config.yaml"),
    ("12d", "Heterogeneity over clusters", "yes", "Models: variance over folds; Subgroups"),
    ("12e", "Measures and plots of performance", "yes", "Models, Curves"),
    ("12f", "Model updating", "part", "Provenance: the ensemble's calibrator, fitted on inner folds"),
    ("12g", "How predictions are calculated (evaluation)", "yes", "Provenance: the bundle recomputes them"),
    ("13", "Class imbalance", "part", "Cohort: outcome shares; config.yaml: the models' loss"),
    ("14", "Fairness", "yes", "Subgroups: values and gaps"),
    ("15", "Model output: probabilities, thresholds", "yes", "Calls at the threshold"),
    ("16", "Training against evaluation data", "part", "Provenance: every fold; Cohort: sets"),
    ("17", "Ethical approval", "no", "the authors'"),
    ("18a–f", "Open science: funding, interests, protocol, registration, data, code", "part",
     "Provenance: data digest, commit, versions; the rest is the authors'"),
    ("19", "Patient and public involvement", "no", "the authors'"),
    ("20a–c", "Participants: flow, characteristics, differences", "yes", "Data flow, Cohort"),
    ("21", "Numbers of participants and events in each analysis", "yes", "Cohort, Subgroups"),
    ("22", "Full model specification", "yes", "bundle/: every model, fitted state and checksum"),
    ("23a", "Performance with intervals, and by subgroup", "yes", "Models, Curves, Subgroups"),
    ("23b", "Heterogeneity in performance", "yes", "Models: variance over folds"),
    ("24", "Results of model updating", "no", "no model was updated"),
    ("25", "Interpretation", "no", "the authors'"),
    ("26", "Limitations", "part", "Worst slices, Optimism; the authors' to discuss"),
    ("27a–c", "Usability: input quality, user interaction, next steps", "no", "the authors'"),
)  # fmt: skip


def tripod(run: Run) -> list[Item]:
    """The checklist for this run; what a run lacks (subgroups, several folds) takes its items back."""
    items = []
    for number, topic, answered, where in _ITEMS:
        if number == "14" and not run.column("subgroup"):
            answered, where = "no", "the task names no subgroups"
        elif number in ("12d", "23b") and len(run.folds) < 2:
            answered, where = "part", "Subgroups only: the protocol has one test fold"
        elif number == "12g" and str(run.summary["protocol"]).startswith("nested"):
            answered = "part"
            where = "Provenance: each outer fold's models, kept in the ledger; the bundle has others"
        items.append(Item(number, topic, answered, where))
    return items

"""Source attributes: the 31 that US rule HTI-1 asks of a predictive intervention, as ``model_card.json``.

45 CFR 170.315(b)(11)(iv)(B), 89 FR 1192 (2024), in our own words. An attribute is filled from what a run
knows and from nothing else; one that only a developer or a hospital can state is null, and says whose it is.

    {"schema": 1, "rule": "45 CFR 170.315(b)(11)(iv)(B)", "study_name": ..., "bundle_created": ...,
     "attributes": [{"id": "(1)(i)", "name": ..., "value": "..." | null, "missing": "..." | null}, ...],
     "empty": ["(1)(i)", ...], "chai_empty": ["BasicInfo.ModelDeveloper", ...]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ehrbench.report.card_facts import CardFacts

RULE = "45 CFR 170.315(b)(11)(iv)(B)"
_DEVELOPER, _DEPLOYER = "the developer's to state", "for whoever deploys it to state"
_NO_SUBGROUPS = "the task names no subgroups"
_EXTERNAL = "this run judged no records of another source: see ehrbench evaluate, and state who did it"

#: Paragraph, name, and the fact of ``CardFacts`` that fills it, or why a run cannot.
ATTRIBUTES: tuple[tuple[str, str, str | None, str], ...] = (
    ("(1)(i)", "Developer: name and contact", None, _DEVELOPER),
    ("(1)(ii)", "Source of funding of the development", None, _DEVELOPER),
    ("(1)(iii)", "Value that the intervention gives as output", "output", ""),
    ("(1)(iv)", "Kind of output: prediction, classification, recommendation, …", "kind", ""),
    ("(2)(i)", "Intended use", "use", ""),
    ("(2)(ii)", "Intended patient population", None, _DEVELOPER),
    ("(2)(iii)", "Intended users", "users", ""),
    ("(2)(iv)", "Decision-making role that it was designed for", "role", ""),
    ("(3)(i)", "Tasks, situations or populations where its use is cautioned against", "caution", ""),
    ("(3)(ii)", "Known risks, inappropriate settings and uses, limitations", "limits", ""),
    ("(4)(i)", "Criteria by which records came into the training data, or were left out", "flow", ""),
    ("(4)(ii)", "Use of demographic and social variables as input", "inputs", ""),
    ("(4)(iii)", "Demographic representativeness of training data", "demography", _NO_SUBGROUPS),
    ("(4)(iv)", "Relevance of the training data to the setting of deployment", None, _DEPLOYER),
    ("(5)(i)", "Approach taken so that the output is fair", "fairness", ""),
    ("(5)(ii)", "Approaches to manage, reduce or eliminate bias", "bias", ""),
    ("(6)(i)", "External validation: data source and setting", None, _EXTERNAL),
    ("(6)(ii)", "External validation: party that conducted it", None, _EXTERNAL),
    ("(6)(iii)", "External validation: demographic representativeness", None, _EXTERNAL),
    ("(6)(iv)", "External validation: process", None, _EXTERNAL),
    ("(7)(i)", "Validity in test data of the same source", "validity", "no metric had a value"),
    ("(7)(ii)", "Fairness in test data of the same source", "subgroups", _NO_SUBGROUPS),
    ("(7)(iii)", "Validity in data of another source", None, _EXTERNAL),
    ("(7)(iv)", "Fairness in data of another source", None, _EXTERNAL),
    ("(7)(v)", "References to evaluations of its use on outcomes", None, "none is known to a run"),
    ("(8)(i)", "Process and frequency of monitoring validity over time", None, _DEPLOYER),
    ("(8)(ii)", "Validity in local data", None, _DEPLOYER),
    ("(8)(iii)", "Process and frequency of monitoring fairness over time", None, _DEPLOYER),
    ("(8)(iv)", "Fairness in local data", None, _DEPLOYER),
    ("(9)(i)", "Process and frequency of updates", None, _DEPLOYER),
    ("(9)(ii)", "Frequency at which performance is corrected when risks are found", None, _DEPLOYER),
)  # fmt: skip


def source_attributes(known: CardFacts, chai_empty: Sequence[str]) -> Mapping[str, Any]:
    """The content of ``model_card.json``; chai_empty: elements that ``model_card.xml`` leaves empty."""
    found = []
    for paragraph, name, fact, why in ATTRIBUTES:
        value = getattr(known, fact) if fact else None
        found.append({"id": paragraph, "name": name, "value": value, "missing": None if value else why})
    return {
        "schema": 1,
        "rule": RULE,
        "study_name": known.name,
        "bundle_created": known.created,
        "attributes": found,
        "empty": [one["id"] for one in found if one["value"] is None],
        "chai_empty": list(chai_empty),
    }

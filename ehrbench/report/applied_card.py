"""Applied card: the Coalition for Health AI's applied model card, as ``model_card.xml``.

Elements and their order are of its schema, version 0.2 (https://mc.chai.org/v0.2/schema.xsd). What a run
does not know stays empty, and is listed in ``model_card.json`` (``source_attributes``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from ehrbench.report.card_facts import CardFacts

NAMESPACE = "https://mc.chai.org/v0.2/schema.xsd"


def applied_card(known: CardFacts) -> tuple[str, list[str]]:
    """The XML, and the elements that are empty in it, as ``BasicInfo.ModelDeveloper``."""
    root, empty = ElementTree.Element("AppliedModelCard", xmlns=NAMESPACE), []

    def add(parent: ElementTree.Element, name: str, content: Any, path: str) -> None:
        if isinstance(content, list):
            for one in content:
                add(parent, name, one, path)
            return
        element = ElementTree.SubElement(parent, name)
        if isinstance(content, Mapping):
            for key, value in content.items():
                add(element, key, value, f"{path}.{key}")
        elif content:
            element.text = str(content)
        else:
            empty.append(path)

    for name, content in _content(known).items():
        add(root, name, content, name)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n", empty


def _content(known: CardFacts) -> dict[str, Any]:
    """Element -> text, or its own elements; "" where a run knows nothing."""
    warned = "SIMULATED COHORT: no figure says anything about patients. " * known.simulated
    return {
        "BasicInfo": {"ModelName": known.name, "ModelDeveloper": "", "DeveloperContact": ""},
        "ReleaseInfo": {
            "ReleaseStage": "Research",
            "ReleaseDate": known.created,
            "ReleaseVersion": known.version,
            "GlobalAvailability": "",
            "RegulatoryApproval": "None",
        },
        "ModelSummary": {"Summary": f"{warned}{known.output}", "Keywords": {"Keyword": ["ehrbench"]}},
        "UsesAndDirections": {
            "IntendedUseAndWorkflow": known.use,
            "PrimaryIntendedUsers": known.users,
            "HowToUse": "",
            "TargetedPatientPopulation": "",
            "CautionedOutOfScopeSettings": known.caution,
        },
        "Warnings": {
            "KnownRisksAndLimitations": known.limits,
            "KnownBiasesOrEthicalConsiderations": "",
            "ClinicalRiskLevel": "",
        },
        "TrustIngredients": {
            "AISystemFacts": {
                "OutcomesAndOutputs": known.output,
                "ModelType": f"Ensemble of {known.models}",
                "InputDataSource": known.source,
                "OutputAndInputDataTypes": known.inputs,
                "DevelopmentDataCharacterization": f"{known.flow} {known.demography or ''}".strip(),
                "BiasMitigationApproaches": known.bias,
                "OngoingMaintenance": "",
            },
            "TransparencyInformation": {"FundingSource": "", "StakeholdersConsulted": ""},
        },
        "KeyMetrics": {
            "UsefulnessUsabilityEfficacy": _metric(known, "Validity on outer-test records", known.figures),
            "FairnessEquity": _metric(
                known,
                "The searched metric by subgroup",
                {k: {"value": v} for k, v in known.by_subgroup.items()},
            ),
            "SafetyReliability": _metric(known, "", {}),
        },
        "Resources": {"PeerReviewedPublications": "", "PatientConsentOrDisclosure": ""},
        "Bibliography": "",
    }


def _metric(known: CardFacts, goal: str, figures: Mapping[str, Mapping[str, float | None]]) -> dict[str, Any]:
    told = bool(figures)
    results = [{"Label": name, "ValueJson": _value(one)} for name, one in figures.items()]
    return {
        "MetricGoal": goal if told else "",
        "Results": {"MetricResult": results or [{"Label": "", "ValueJson": ""}]},
        "Interpretation": "",
        "TestType": "Retrospective, internal validation" if told else "",
        "TestingDataDescription": known.source if told else "",
        "ValidationProcessAndJustification": known.process if told else "",
    }


def _value(one: Mapping[str, float | None]) -> str:
    known = {name: round(value, 6) for name, value in one.items() if value is not None}
    kind = "interval" if "low" in known else "single"
    return json.dumps({"kind": kind, **known})

"""FHIR R4 and CDS Hooks: HL7's examples in, resources out that HL7's own shapes take; all else refused."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml
from fhir.resources.R4B.bundle import Bundle as FhirBundle
from fhir.resources.R4B.capabilitystatement import CapabilityStatement
from fhir.resources.R4B.operationoutcome import OperationOutcome
from fhir.resources.R4B.riskassessment import RiskAssessment
from hypothesis import given, settings, strategies

from ehrbench.core.errors import ConfigError
from ehrbench.serve import ServeSettings
from ehrbench.serve.clinical.clinical_record import read_bundle
from ehrbench.serve.clinical.code_map import MAPS, CodeMap, code_maps
from ehrbench.serve.problems import Problem
from ehrbench.tasks.diabetes import Diabetes
from ehrbench.tasks.mortality import Mortality
from ehrbench.tasks.physionet2012 import example_stay
from ehrbench.tasks.physionet2012.cleaning import SERIES
from tests.serve.conftest import running
from tests.serve.diabetes import diabetes_bundle
from tests.serve.mortality import mortality_bundle

START = datetime.fromisoformat("2013-04-02T09:00:00+01:00")
PATIENT = {"resourceType": "Patient", "id": "f001", "gender": "male", "birthDate": "1944-11-17"}
STAY = {
    "resourceType": "Encounter",
    "id": "stay",
    "status": "in-progress",
    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
    "subject": {"reference": "Patient/f001"},
    "period": {"start": START.isoformat()},
}
#: HL7's example f001 as it is published: a laboratory result in mmol/L with a period.
GLUCOSE = {
    "resourceType": "Observation",
    "id": "f001",
    "status": "final",
    "code": {"coding": [{"system": "http://loinc.org", "code": "15074-8"}]},
    "subject": {"reference": "Patient/f001", "display": "P. van de Heuvel"},
    "effectivePeriod": {"start": "2013-04-02T09:30:10+01:00"},
    "valueQuantity": {
        "value": 6.3,
        "unit": "mmol/l",
        "system": "http://unitsofmeasure.org",
        "code": "mmol/L",
    },
}
CODES = code_maps()["mortality"]


def observation(code: str, value: float, unit: str, hours: float = 1, **more: Any) -> dict[str, Any]:
    return {
        "resourceType": "Observation",
        "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]},
        "subject": {"reference": "Patient/f001"},
        "effectiveDateTime": (START + timedelta(hours=hours)).isoformat(),
        "valueQuantity": {"value": value, "system": "http://unitsofmeasure.org", "code": unit},
        **more,
    }


def blood_pressure() -> dict[str, Any]:
    """HL7's example blood-pressure, at a time of the stay."""
    parts = [observation(code, value, "mm[Hg]") for code, value in (("8480-6", 107), ("8462-4", 60))]
    components = [{key: part[key] for key in ("code", "valueQuantity")} for part in parts]
    whole = observation("85354-9", 0, "", component=components)
    del whole["valueQuantity"]
    return whole


def bundle(*resources: dict[str, Any]) -> dict[str, Any]:
    entries = [{"resource": copy.deepcopy(one)} for one in resources]
    return {"resourceType": "Bundle", "type": "collection", "entry": entries}


def events_of(*observations: dict[str, Any]) -> dict[str, Any]:
    content = bundle(PATIENT, STAY, *observations)
    FhirBundle.model_validate(content)  # what these tests post is FHIR
    return dict(read_bundle(content, Mortality(), {"mortality": CODES}).raw.body)


def test_published_examples_are_read_in_the_units_of_training() -> None:
    body = events_of(GLUCOSE, blood_pressure(), observation("8867-4", 44, "/min", 47.99))
    assert body["events"] == [
        {"time": "00:30", "parameter": "Glucose", "value": pytest.approx(113.5, abs=0.01)},
        {"time": "01:00", "parameter": "NISysABP", "value": 107},
        {"time": "01:00", "parameter": "NIDiasABP", "value": 60},
        {"time": "47:59", "parameter": "HR", "value": 44},
    ]
    assert body["descriptors"] == {"Age": 68, "Gender": 1}


def test_units_are_converted_and_descriptors_are_the_first_of_their_values() -> None:
    body = events_of(
        observation("8310-5", 98.6, "[degF]"),
        observation("29463-7", 70.0, "kg", 5),
        observation("29463-7", 154.3, "[lb_av]", 2),
        observation("8302-2", 1.75, "m"),
        observation("2160-0", 88.4, "umol/L"),
    )
    values = {(one["time"], one["parameter"]): one["value"] for one in body["events"]}
    assert values["01:00", "Temp"] == pytest.approx(37.0)
    assert values["01:00", "Creatinine"] == pytest.approx(1.0, abs=1e-3)
    assert body["descriptors"]["Weight"] == pytest.approx(69.99, abs=0.01)
    assert body["descriptors"]["Height"] == 175


def test_what_a_stay_cannot_have_is_left_out_and_counted() -> None:
    wrong = observation("8867-4", 60, "/min", status="entered-in-error")
    late, early = (observation("8867-4", 60, "/min", hours) for hours in (48.1, -1))
    score = observation("72514-3", 3, "{score}")
    found = read_bundle(bundle(PATIENT, STAY, wrong, late, early, score), Mortality(), {"mortality": CODES})
    assert found.raw.body["events"] == []
    assert found.left_out == {"without a final result": 1, "outside the first 48 hours": 2}


def changed(path: str, value: Any) -> dict[str, Any]:
    """A bundle of one heart rate with an element of it changed, or taken away."""
    content = bundle(PATIENT, STAY, observation("8867-4", 60, "/min"))
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = content["entry"]
    for part in way:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "field", "problem"),
    [
        ("2.resource.code.coding.0.code", "99999-9", "entry[2].resource.code.coding", "no mapping"),
        ("2.resource.code.coding.0.system", "urn:local", "entry[2].resource.code.coding", "no code of http"),
        ("2.resource.valueQuantity.code", "Hz", "entry[2].resource.valueQuantity.code", "no mapping of unit"),
        ("2.resource.valueQuantity.value", "60", "entry[2].resource.valueQuantity.value", "is not a number"),
        (
            "2.resource.valueQuantity.comparator",
            "<",
            "entry[2].resource.valueQuantity.comparator",
            "no value",
        ),
        ("2.resource.valueQuantity", None, "entry[2].resource.valueQuantity", "missing"),
        ("2.resource.effectiveDateTime", "1999-07-02", "entry[2].resource.effectiveDateTime", "no moment"),
        ("2.resource.effectiveDateTime", None, "entry[2].resource.effectiveDateTime", "no moment"),
        ("2.resource.subject.reference", "Patient/f002", "entry[2].resource.subject", "is not the Patient"),
        ("2.resource.resourceType", "Medication", "entry[2].resource.resourceType", "is not read here"),
        ("1.resource.period.start", "2013-04-02", "entry[1].resource.period.start", "is no moment"),
        ("1.resource", None, "entry[1].resource", "missing"),
        ("0.resource.id", None, "entry[0].resource.id", "missing"),
        ("0.resource.birthDate", "long ago", "entry[0].resource.birthDate", "is no date"),
    ],
)  # fmt: skip
def test_what_has_no_mapping_or_no_place_is_refused_by_name(path, value, field, problem):
    with pytest.raises(Problem) as refused:
        read_bundle(changed(path, value), Mortality(), {"mortality": CODES})
    assert (refused.value.status, refused.value.field) == (422, field)
    assert problem in refused.value.problem


TEXT = strategies.text(max_size=8)
JSON = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.floats(allow_nan=False) | TEXT,
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def places(content: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a JSON value."""
    keys = (
        list(content)
        if isinstance(content, dict)
        else range(len(content))
        if isinstance(content, list)
        else []
    )
    return [(content, key) for key in keys] + [found for key in keys for found in places(content[key])]


@given(strategies.data())
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_whatever_stands_anywhere_is_read_or_refused(data: strategies.DataObject) -> None:
    answers = {
        "resourceType": "QuestionnaireResponse",
        "item": [{"linkId": "a", "answer": [{"valueInteger": 1}]}],
    }
    stays = data.draw(strategies.booleans())
    content = bundle(PATIENT, STAY, blood_pressure(), GLUCOSE) if stays else bundle(PATIENT, answers)
    container, key = data.draw(strategies.sampled_from(places(content)))
    container[key] = data.draw(JSON)
    refused = None
    try:
        read_bundle(content, Mortality(), {"mortality": CODES} if stays else {})
    except Problem as problem:
        refused = problem
    assert refused is None or (refused.status == 422 and refused.field)


def test_two_patients_or_none_are_refused() -> None:
    for patients in ([], [PATIENT, {**PATIENT, "id": "f002"}]):
        with pytest.raises(Problem, match="resources Patient"):
            read_bundle(bundle(*patients, STAY), Mortality(), {"mortality": CODES})


def test_the_map_names_parameters_that_there_are_and_nearly_all_of_them() -> None:
    named = {code.parameter for code in CODES.codes.values()} - {None}
    assert {measure.name for measure in SERIES} - named == {"MechVent"}
    assert named <= {measure.name for measure in SERIES}
    assert CODES.fhir == "4.0.1"
    assert not CODES.panels & CODES.codes.keys()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": {"1-1": {"units": {"%": 1}}}}, r"codes\.1-1: is nothing — name"),
        ({"codes": {"1-1": {"parameter": "HR", "units": {"%": [1]}}}}, r"units: is no conversion — give"),
        ({"codes": {"1-1": {"parameter": "HR", "units": {}}}}, r"codes\.1-1\.units: .* — begin with"),
        ({"colour": "red"}, "colour: extra inputs"),
    ],
)
def test_a_map_that_cannot_be_used_is_told_by_key(change, message, tmp_path):
    content = yaml.safe_load((MAPS / "mortality.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(content | change))
    with pytest.raises(ConfigError, match=message):
        CodeMap.read(path)


# --- over HTTP ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    place, _, _ = mortality_bundle(tmp_path_factory.mktemp("ward"))
    with running(place, ServeSettings(), maps=code_maps()) as client:
        yield client


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with running(diabetes_bundle(tmp_path_factory.mktemp("survey")), maps=code_maps()) as client:
        yield client


def stay_of_the_example() -> list[dict[str, Any]]:
    """The task's own example as resources: every value under the first code that means it."""
    codes = {code.parameter: (name, next(u for u, f in code.units.items() if f == 1))
             for name, code in reversed(CODES.codes.items()) if 1 in code.units.values()}  # fmt: skip
    codes["FiO2"] = ("3150-6", "1")
    stay = example_stay.as_json()
    hours = [(int(e["time"][:2]) + int(e["time"][3:]) / 60, e) for e in stay["events"]]
    return [
        observation(codes[e["parameter"]][0], e["value"], codes[e["parameter"]][1], at) for at, e in hours
    ]


def test_a_stay_gets_the_risk_that_its_raw_record_gets(ward: httpx.Client) -> None:
    stay = example_stay.as_json()
    stay["descriptors"] = {"Age": 68, "Gender": 1}
    raw = ward.post("/predict", json=stay).json()["predictions"][0]
    answer = ward.post("/fhir/RiskAssessment", json=bundle(PATIENT, STAY, *stay_of_the_example()))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/fhir+json"
    found = RiskAssessment.model_validate(answer.json())
    assert float(found.prediction[0].probabilityDecimal) == pytest.approx(
        raw["probability"]["death"], abs=2e-6
    )
    assert (found.subject.reference, found.encounter.reference) == ("Patient/f001", "Encounter/stay")
    assert "SIMULATED" in " ".join(note.text for note in found.note)


def test_a_fault_is_an_operation_outcome_that_names_the_element(ward: httpx.Client) -> None:
    answer = ward.post("/fhir/RiskAssessment", json=changed("2.resource.valueQuantity.code", "Hz"))
    assert answer.status_code == 422
    (issue,) = OperationOutcome.model_validate(answer.json()).issue
    assert issue.expression == ["entry[2].resource.valueQuantity.code"]
    assert "give one of /min" in issue.diagnostics
    broken = ward.post("/fhir/RiskAssessment", content=b"{")
    assert OperationOutcome.model_validate(broken.json()).issue[0].code == "invalid"


def test_the_server_says_which_version_it_speaks(ward: httpx.Client) -> None:
    assert CapabilityStatement.model_validate(ward.get("/fhir/metadata").json()).fhirVersion == "4.0.1"


def test_answers_of_a_questionnaire_are_a_row_of_the_table(survey: httpx.Client) -> None:
    record = {k: v for k, v in survey.get("/openapi.json").json()["components"]["schemas"]["RawRecord"][
        "examples"][0].items() if k != "record_id"}  # fmt: skip
    items = [{"linkId": name, "answer": [{"valueDecimal": value}]} for name, value in record.items()]
    response = {"resourceType": "QuestionnaireResponse", "status": "completed"}
    grouped = [{"linkId": "group", "item": items[3:]}, *items[:3]]
    content = bundle(PATIENT, {**response, "item": grouped})
    FhirBundle.model_validate(content)
    answer = survey.post("/fhir/RiskAssessment", json=content)
    assert answer.status_code == 200, answer.text
    raw = survey.post("/predict", json=record).json()["predictions"][0]["probability"]["diabetes"]
    assert answer.json()["prediction"][0]["probabilityDecimal"] == pytest.approx(raw, abs=2e-6)
    lacking = survey.post("/fhir/RiskAssessment", json=bundle(PATIENT, {**response, "item": items[1:]}))
    assert lacking.json()["issue"][0]["expression"] == [items[0]["linkId"]]
    told = read_bundle(content, Diabetes(), {})
    assert told.raw.name == "f001"


def test_a_card_for_a_patient_whose_chart_is_opened(ward: httpx.Client) -> None:
    (service,) = ward.get("/cds-services").json()["services"]
    assert service["hook"] == "patient-view"
    assert {"id", "title", "description", "prefetch"} <= service.keys()
    assert service["prefetch"]["patient"] == "Patient/{{context.patientId}}"
    assert "http://loinc.org|8867-4" in service["prefetch"]["observations"]
    request = {
        "hook": "patient-view",
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/example", "patientId": "f001", "encounterId": "stay"},
        "prefetch": {
            "patient": PATIENT,
            "encounter": STAY,
            "observations": {**bundle(*stay_of_the_example()), "type": "searchset"},
        },
    }
    place = f"/cds-services/{service['id']}"
    (card,) = ward.post(place, json=request).json()["cards"]
    assert len(card["summary"]) <= 140
    assert card["summary"].startswith("Estimated risk: death ")
    assert card["indicator"] in ("info", "warning", "critical")
    assert card["source"]["label"]
    assert UUID(card["uuid"])
    assert "Not a medical device" in card["detail"]

    other = {**request, "context": {"patientId": "f002"}}
    assert ward.post(place, json=other).json()["error"]["field"] == "prefetch.patient.id"
    missing = ward.post(place, json={**request, "prefetch": {"patient": PATIENT}})
    assert (missing.status_code, missing.json()["error"]["field"]) == (412, "prefetch.encounter")
    assert ward.post(place, json={**request, "hook": "order-sign"}).status_code == 422
    assert ward.post("/cds-services/another", json=request).status_code == 404


def test_a_server_that_was_not_asked_to_answers_neither(client: httpx.Client) -> None:
    assert client.get("/cds-services").status_code == 404
    assert client.post("/fhir/RiskAssessment", json={}).status_code == 404


def test_the_command_takes_a_map_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ehrbench.app.command.cli import main

    words = ["serve", "--bundle", str(tmp_path), "--fhir", str(tmp_path / "none.yaml")]
    assert main(words) == 2
    assert "none.yaml: cannot be read" in capsys.readouterr().err

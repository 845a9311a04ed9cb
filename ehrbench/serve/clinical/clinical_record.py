"""ClinicalRecord: a FHIR R4 Bundle of one patient to the raw record of a task.

Of a stay: Patient (age, sex), Encounter (``period.start`` is time zero) and Observations by a ``CodeMap``. Of
a task whose records are rows: a QuestionnaireResponse, whose ``linkId``s are the columns' names. Strict: what
is not named, dated or measured in a known unit is refused by its place in the Bundle. Only what a stay cannot
have (values of other hours, or without a final result) is left out, and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from ehrbench.core.task import RawInput, Task
from ehrbench.serve.clinical.code_map import Code, CodeMap
from ehrbench.serve.problems import Problem
from ehrbench.tasks.names import fault_of_name
from ehrbench.tasks.numbers import of_json, shown
from ehrbench.tasks.physionet2012.record_text import LAST_MINUTE

#: Results that stand; what is entered in error, cancelled or not there yet does not.
FINAL = frozenset({"final", "amended", "corrected"})
_SEXES = {"female": 0, "male": 1}
_CODE = "code.coding"


@dataclass
class ClinicalRecord:
    """raw: as the task reads it; subject, encounter: references for the answer; left_out: why to how many."""

    raw: RawInput
    subject: str
    encounter: str | None = None
    left_out: Counter[str] = field(default_factory=Counter)


def read_bundle(content: Mapping[str, Any], task: Task, maps: Mapping[str, CodeMap]) -> ClinicalRecord:
    """The one patient's record. Raises Problem 422 naming the element that is missing or wrong."""
    if content.get("resourceType") != "Bundle":
        remedy = "post a Bundle of a Patient and what belongs to it"
        raise Problem(422, "not a FHIR Bundle", field="resourceType", remedy=remedy)
    entries = content.get("entry")
    if not isinstance(entries, list):
        raise Problem(422, "missing or not a list", field="entry", remedy="list the resources")
    found: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    names: set[str] = set()
    for number, entry in enumerate(entries):
        place = f"entry[{number}].resource"
        resource = entry.get("resource") if isinstance(entry, Mapping) else None
        if not isinstance(resource, Mapping):
            raise Problem(422, "missing or not an object", field=place)
        kind = str(resource.get("resourceType"))
        if kind not in ("Patient", "Encounter", "Observation", "QuestionnaireResponse"):
            remedy = "leave it out"
            raise Problem(
                422, f"{shown(kind)} is not read here", field=f"{place}.resourceType", remedy=remedy
            )
        if kind == "Patient" and isinstance(entry.get("fullUrl"), str):
            names.add(entry["fullUrl"])
        found.setdefault(kind, []).append((place, resource))
    place, patient = _only(found, "Patient")
    record_id = patient.get("id")
    if record_id is None or fault_of_name(record_id):
        raise Problem(422, "missing or no name", field=f"{place}.id", remedy="give the patient's id")
    subject = f"Patient/{record_id}"
    for where, resource in (one for kind in found.values() for one in kind):
        _check_subject(where, resource, {subject, *names})
    if task.name in maps:
        return _stay(found, (place, patient), maps[task.name], subject)
    where, response = _only(found, "QuestionnaireResponse")
    if "Observation" in found:
        remedy = "give ehrbench serve --fhir MAP.yaml"
        raise Problem(422, f"no map of Observations for {task.name}", field="entry", remedy=remedy)
    answers = dict(_answers(response.get("item"), f"{where}.item"))
    return ClinicalRecord(RawInput(str(record_id), answers), subject)


def _only(
    found: Mapping[str, list[tuple[str, Mapping[str, Any]]]], kind: str
) -> tuple[str, Mapping[str, Any]]:
    of_kind = found.get(kind, [])
    if len(of_kind) != 1:
        raise Problem(422, f"{len(of_kind)} resources {kind}", field="entry", remedy=f"send one {kind}")
    return of_kind[0]


def _check_subject(place: str, resource: Mapping[str, Any], known: set[str]) -> None:
    """Another patient's values in this one's record would be the worst of all mistakes."""
    subject = resource.get("subject")
    if subject is None:
        return
    reference = subject.get("reference") if isinstance(subject, Mapping) else None
    if not isinstance(reference, str) or not any(
        reference == one or reference.endswith(f"/{one}") for one in known
    ):
        remedy = "send one patient's resources alone"
        raise Problem(422, "is not the Patient of this Bundle", field=f"{place}.subject", remedy=remedy)


# --- a stay ------------------------------------------------------------------------------------------------


def _stay(
    found: Mapping[str, list[tuple[str, Mapping[str, Any]]]],
    patient: tuple[str, Mapping[str, Any]],
    codes: CodeMap,
    subject: str,
) -> ClinicalRecord:
    place, encounter = _only(found, "Encounter")
    period = encounter.get("period")
    start = _moment(f"{place}.period.start", period.get("start") if isinstance(period, Mapping) else None)
    descriptors: dict[str, float | None] = {
        "Age": _age(*patient, start.date()),
        "Gender": _SEXES.get(str(patient[1].get("gender"))),
    }
    first: dict[str, datetime] = {}
    events: list[dict[str, Any]] = []
    reference = f"Encounter/{encounter['id']}" if isinstance(encounter.get("id"), str) else None
    record = ClinicalRecord(RawInput("", {}), subject, reference)
    for where, observation in found.get("Observation", []):
        if str(observation.get("status")) not in FINAL:
            record.left_out["without a final result"] += 1
            continue
        for meant, value in _values(where, observation, codes):
            at = _when(where, observation)
            minutes = int((at - start) / timedelta(minutes=1))
            if at < start or minutes > LAST_MINUTE:
                record.left_out[f"outside the first {LAST_MINUTE // 60} hours"] += 1
                continue
            if meant.parameter is not None:
                time = f"{minutes // 60:02}:{minutes % 60:02}"
                events.append({"time": time, "parameter": meant.parameter, "value": value})
            known = first.get(meant.descriptor or "")
            if meant.descriptor is not None and (known is None or at < known):
                first[meant.descriptor], descriptors[meant.descriptor] = at, value
    record.raw = RawInput(subject.partition("/")[2], {"descriptors": descriptors, "events": events})
    return record


def _values(place: str, observation: Mapping[str, Any], codes: CodeMap) -> Iterator[tuple[Code, float]]:
    """Meaning and converted value of an Observation, or of each of its components."""
    code = _code(place, observation, codes)
    if code in codes.ignored:
        return
    if code not in codes.panels:
        yield _value(place, code, observation, codes)
        return
    components = observation.get("component")
    if not isinstance(components, list):
        raise Problem(422, "missing or not a list", field=f"{place}.component")
    for number, component in enumerate(components):
        where = f"{place}.component[{number}]"
        if not isinstance(component, Mapping):
            raise Problem(422, "not an object", field=where)
        of_it = _code(where, component, codes)
        if of_it not in codes.ignored:
            yield _value(where, of_it, component, codes)


def _code(place: str, resource: Mapping[str, Any], codes: CodeMap) -> str:
    """The first code of the map's system that it knows. Problem 422 where there is none."""
    concept = resource.get("code")
    coding = concept.get("coding") if isinstance(concept, Mapping) else None
    given = [
        str(one.get("code"))
        for one in (coding if isinstance(coding, list) else [])
        if isinstance(one, Mapping) and one.get("system") == codes.system
    ]
    for code in given:
        if code in codes.codes or code in codes.panels or code in codes.ignored:
            return code
    problem = f"no mapping of {', '.join(map(shown, given))}" if given else f"no code of {codes.system}"
    raise Problem(422, problem, field=f"{place}.{_CODE}", remedy="add it to the map, or leave it out")


def _value(place: str, code: str, resource: Mapping[str, Any], codes: CodeMap) -> tuple[Code, float]:
    quantity = resource.get("valueQuantity")
    if not isinstance(quantity, Mapping):
        raise Problem(422, "missing or not an object", field=f"{place}.valueQuantity")
    if quantity.get("comparator") is not None:
        problem = f"{shown(quantity['comparator'])} a value is no value"
        raise Problem(422, problem, field=f"{place}.valueQuantity.comparator", remedy="leave it out")
    number = of_json(quantity.get("value"))
    if number is None:
        raise Problem(
            422, f"{shown(quantity.get('value'))} is not a number", field=f"{place}.valueQuantity.value"
        )
    meant, unit = codes.codes[code], quantity.get("code")
    converted = meant.converted(number, unit) if isinstance(unit, str) else None
    if converted is None:
        problem = f"no mapping of unit {shown(unit)} for {code}"
        remedy = f"give one of {', '.join(meant.units)} (UCUM), or add it to the map"
        raise Problem(422, problem, field=f"{place}.valueQuantity.code", remedy=remedy)
    return meant, converted


def _when(place: str, observation: Mapping[str, Any]) -> datetime:
    period = observation.get("effectivePeriod")
    for name in ("effectiveDateTime", "effectiveInstant"):
        if name in observation:
            return _moment(f"{place}.{name}", observation[name])
    start = period.get("start") if isinstance(period, Mapping) else None
    return _moment(
        f"{place}.effectiveDateTime" if period is None else f"{place}.effectivePeriod.start", start
    )


def _moment(place: str, text: Any) -> datetime:
    """A time with its zone; a day alone cannot be placed in a stay of hours."""
    try:
        at = datetime.fromisoformat(text) if isinstance(text, str) and "T" in text else None
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        remedy = "give day, time and zone, such as 2026-11-28T09:30:00+01:00"
        raise Problem(422, f"{shown(text)} is no moment", field=place, remedy=remedy)
    return at


def _age(place: str, patient: Mapping[str, Any], today: date) -> int | None:
    """Whole years; None where the day of birth is not told."""
    text = patient.get("birthDate")
    if text is None:
        return None
    try:
        parts = [int(part) for part in str(text).split("-")]
        born = date(*(parts + [7, 1][len(parts) - 1 :]))  # a year alone: its middle
    except (ValueError, TypeError):
        raise Problem(422, f"{shown(text)} is no date", field=f"{place}.birthDate") from None
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


# --- a row -------------------------------------------------------------------------------------------------


def _answers(items: Any, place: str) -> Iterator[tuple[str, Any]]:
    """linkId and value of each answered question, those of groups among them."""
    if not isinstance(items, list):
        raise Problem(422, "missing or not a list", field=place)
    for number, item in enumerate(items):
        where = f"{place}[{number}]"
        link = item.get("linkId") if isinstance(item, Mapping) else None
        if not isinstance(link, str):
            raise Problem(422, "missing or no text", field=f"{where}.linkId")
        if "item" in item:
            yield from _answers(item["item"], f"{where}.item")
        answers = item.get("answer", [])
        if not isinstance(answers, list) or len(answers) > 1:
            raise Problem(422, "not a list of one answer", field=f"{where}.answer")
        if answers:
            yield link, _answer(answers[0], f"{where}.answer[0]")


def _answer(answer: Any, place: str) -> Any:
    if isinstance(answer, Mapping):
        for name in ("valueDecimal", "valueInteger", "valueString", "valueDate", "valueDateTime"):
            if name in answer:
                return answer[name]
        if "valueBoolean" in answer:
            return int(answer["valueBoolean"] is True)
        for name, part in (("valueCoding", "code"), ("valueQuantity", "value")):
            if isinstance(answer.get(name), Mapping):
                return answer[name].get(part)
    remedy = "answer by a number, a text, a date, a coding or a quantity"
    raise Problem(422, "holds no value that is read here", field=place, remedy=remedy)

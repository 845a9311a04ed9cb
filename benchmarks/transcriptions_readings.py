"""A finished search of `transcriptions` in both readings, beside TF-IDF + LinearSVC on the same outer folds.

    python -m benchmarks.transcriptions_readings runs/STUDY

The run is one of ``reading: set``. Row reading: each row of the table is right where the one specialty called
for its text is the row's; called is the most probable one, or the one whose probability is the greatest
multiple of its threshold. The support vectors are of each reading's own labels.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC

from ehrbench import metrics
from ehrbench.core.records import Records
from ehrbench.core.target import Target
from ehrbench.core.types import FloatArray, IntArray
from ehrbench.features.texts import Texts
from ehrbench.metrics._called import called_classes
from ehrbench.publishers.mtsamples import MTSamples
from ehrbench.tasks.transcriptions import SPECIALTIES, Transcriptions

ROW = Target("multiclass", SPECIALTIES)


def predictions(run: Path) -> dict[str, dict[int, tuple[list[str], FloatArray]]]:
    """Model -> outer fold -> record ids (n,) and probabilities (n, C)."""
    found: dict[str, dict[int, dict[str, list[float]]]] = {}
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            by_fold = found.setdefault(row["model"], {}).setdefault(int(row["outer_fold"]), {})
            by_fold.setdefault(row["record"], []).append(float(row["probability"]))
    return {
        model: {fold: (list(of), np.array(list(of.values()))) for fold, of in by_fold.items()}
        for model, by_fold in found.items()
    }


def in_sets(y: FloatArray, p: FloatArray, called: FloatArray) -> list[float]:
    """precision@1, precision@3, mean average precision, micro and macro F1 of sets (n, C)."""
    target = Transcriptions().target
    names = ("precision_at_1", "precision_at_3", "mean_average_precision")
    values = [metrics.load(name)(y, p, target=target) for name in names]
    return [*values, *(f1_score(y, called, average=how, zero_division=0) for how in ("micro", "macro"))]


def in_rows(y: IntArray, best: IntArray, called: IntArray) -> list[float]:
    """Accuracy (precision@1) and macro F1 of the most probable class, and of the called one, (n,) rows."""
    values = []
    for said in (best, called):
        macro = f1_score(y, said, average="macro", labels=range(len(SPECIALTIES)), zero_division=0)
        values += [float((said == y).mean()), float(macro)]
    return values


def support_vectors(sets: Records, rows: Records, test: IntArray) -> tuple[list[float], list[float]]:
    """Set reading, row reading."""
    assert isinstance(sets.payload, Texts)
    assert isinstance(rows.payload, Texts)
    train = np.setdiff1d(np.arange(len(sets)), test)
    inside = np.isin(rows.digests, sets.digests[test])
    tfidf = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2))
    x = tfidf.fit_transform(sets.payload.take(train).texts)
    several = OneVsRestClassifier(LinearSVC()).fit(x, sets.labels[train])
    margin = several.decision_function(tfidf.transform(sets.payload.take(test).texts))
    one = LinearSVC().fit(
        tfidf.transform(rows.payload.take(np.flatnonzero(~inside)).texts), rows.labels[~inside].argmax(axis=1)
    )
    said = one.predict(tfidf.transform(rows.payload.take(np.flatnonzero(inside)).texts))
    y = rows.labels[inside].argmax(axis=1)
    return in_sets(sets.labels[test], margin, margin > 0), in_rows(y, said, said)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    run: Path = parser.parse_args().run
    data = Path(os.environ["EHRBENCH_DATA"])
    sets, rows = (MTSamples(Transcriptions(reading)).read(data, ()).records for reading in ("set", "row"))
    place = {name: i for i, name in enumerate(sets.ids.tolist())}
    folds = json.loads((run / "summary.json").read_text(encoding="utf-8"))["folds"]
    table: dict[str, list[tuple[list[float], list[float]]]] = {}
    for model, by_fold in predictions(run).items():
        for fold, (ids, p) in sorted(by_fold.items()):
            test = np.array([place[name] for name in ids])
            cut = np.array(folds[fold]["chosen"]["thresholds"][model])
            y = sets.labels[test]
            of_text = {digest: i for i, digest in enumerate(sets.digests[test].tolist())}
            inside = np.flatnonzero(np.isin(rows.digests, sets.digests[test]))
            text = np.array([of_text[digest] for digest in rows.digests[inside].tolist()])
            label = rows.labels[inside].argmax(axis=1)
            called = called_classes(p, cut, ROW).argmax(axis=1)
            values = in_sets(y, p, p >= cut), in_rows(label, p.argmax(axis=1)[text], called[text])
            table.setdefault(model, []).append(values)
            if model == "ensemble":
                table.setdefault("TF-IDF + LinearSVC", []).append(support_vectors(sets, rows, test))
    heads = "set: P@1 P@3 MAP micro-F1 macro-F1", "row: most probable P@1 macro-F1, called P@1 macro-F1"
    print(f"{'means over outer folds':38s}", *heads, sep="  ")
    for model, values in table.items():
        means = [np.mean(part, axis=0) for part in zip(*values, strict=True)]
        print(f"{model:38s}", *(" ".join(f"{v:.4f}" for v in part) for part in means), sep="  ")


if __name__ == "__main__":
    main()

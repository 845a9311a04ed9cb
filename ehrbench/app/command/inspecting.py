"""Inspecting: ``ehrbench bundle inspect | verify | diff | export``.

All but ``export`` need what a server has installed and no more.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ehrbench.app.composed.console import LINE, line
from ehrbench.core.bundle import bundle_folder
from ehrbench.core.places import argument
from ehrbench.core.progress import SILENT

#: Differences told in words; ``--json`` has all.
MOST = 40


def add_commands(commands: Any) -> None:
    """The parser of ``ehrbench bundle``."""
    bundle = commands.add_parser("bundle", help="look into a bundle, or lay it out anew")
    verbs = bundle.add_subparsers(required=True, metavar="VERB")
    inspect = verbs.add_parser("inspect", help="what it is, its members, figures, files and checksums")
    inspect.set_defaults(run_command=_inspect)
    verify = verbs.add_parser("verify", help="check every file, and every member on the task's example")
    verify.set_defaults(run_command=_verify)
    diff = verbs.add_parser("diff", help="in what two bundles differ")
    diff.set_defaults(run_command=_diff)
    export = verbs.add_parser("export", help="as Triton or MLflow want it, or with its networks in int8")
    export.set_defaults(run_command=_export)
    export.add_argument("--layout", choices=("bundle", "triton", "pyfunc"), default="bundle")
    export.add_argument("--int8", action="store_true", help="networks in int8; BUNDLE is then a run's folder")
    export.add_argument(
        "--most-loss", type=float, default=0.002, metavar="AUROC", help="that int8 may cost (0.002)"
    )
    for verb in (inspect, verify, diff, export):
        verb.add_argument("bundle", type=argument, metavar="BUNDLE", help="its folder, or that of its run")
        verb.add_argument("--json", action="store_true", help="for programs")
    export.add_argument("output", type=argument, metavar="OUTPUT", help="a new folder")
    diff.add_argument("other", type=argument, metavar="OTHER", help="likewise")


def _inspect(options: argparse.Namespace) -> None:
    from ehrbench.runtime.bundle import Bundle
    from ehrbench.runtime.inspection import facts

    found = facts(Bundle.load(options.bundle))
    print(json.dumps(found, indent=2) if options.json else inspected(found))


def _verify(options: argparse.Namespace) -> None:
    from ehrbench.runtime.bundle import Bundle

    bundle = Bundle.load(options.bundle)
    apart, parity = bundle.self_test(), bundle.manifest.parity
    by_member = "members" in bundle.manifest.reference
    n_files = sum(path.is_file() for path in bundle.directory.rglob("*"))
    if options.json:
        told = {"bundle": str(bundle.directory), "version": bundle.digest, "files": n_files}
        told |= {"example": apart, "members": by_member, "parity": parity or None}
        print(json.dumps(told, indent=2))
        return
    who = "each member and the ensemble" if by_member else "the ensemble, of before members were kept,"
    print(line("study_name", bundle.manifest.study_name))
    print(line("version", bundle.digest))
    print(line("files", f"{n_files}, as their checksums say"))
    print(line("example", f"{who} within {_apart(apart)} of what the models said"))
    print(line("parity", _parity(parity)))


def _diff(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from ehrbench.runtime.bundle import Bundle
    from ehrbench.runtime.inspection import differences

    a, b = (Bundle.load(bundle_folder(folder)) for folder in (options.bundle, options.other))
    found = differences(a, b)
    if options.json:
        print(json.dumps([asdict(one) for one in found], indent=2))
        return
    if not found:
        print(line("the two are one", a.digest))
        return
    files = [one for one in found if one.what.startswith("files.")]
    told = [one for one in found if one not in files]
    for one in told[:MOST]:
        print("\n".join(textwrap.wrap(one.what, LINE)))
        print(line("  a", _short(one.a)))
        print(line("  b", _short(one.b)))
    if len(told) > MOST:
        print(f"and {len(told) - MOST} more: --json has them")
    names = sorted({one.what.removeprefix("files.").rpartition(".")[0] for one in files})
    print(line("files", ", ".join(names)))


def _export(options: argparse.Namespace) -> None:
    import tempfile

    from ehrbench.app.runs.layouts import lay_out
    from ehrbench.runtime.bundle import Bundle

    told: dict[str, Any] = {"layout": options.layout, "output": str(options.output)}
    with tempfile.TemporaryDirectory(prefix="ehrbench-") as folder:
        source = options.bundle
        if options.int8:
            from ehrbench.app.runs.quantising import quantise
            from ehrbench.core.run_folder import RunFolder

            source = Path(folder) / "int8"
            told["quantised"] = quantise(RunFolder.open(options.bundle), source, options.most_loss, SILENT)
        bundle = Bundle.load(source)
        lay_out(bundle, options.layout, options.output)
    if options.json:
        print(json.dumps(told, indent=2))
        return
    print(line("written", str(options.output)))
    if options.int8:
        print("\n".join(_quantised(told["quantised"])))


def _quantised(found: Mapping[str, Any]) -> list[str]:
    plain, int8 = found["milliseconds"]
    of = "held-out" if found["held_out"] else "training"
    size = [sum(sizes) for sizes in zip(*found["graph_bytes"].values(), strict=True)]
    pairs = {"ensemble": (found["plain"], found["int8"]), **found["models"]}
    changed = [f"{name} {a:.4f} to {b:.4f}" for name, (a, b) in pairs.items() if a != b or name == "ensemble"]
    return [
        line("int8", f"{found['metric']}: {', '.join(changed)}"),
        line("", f"on {found['n_records']:,} {of} records; {found['most_loss']:g} is the most it may cost"),
        line("a record", f"{plain:.2f} ms of CPU to {int8:.2f} ms, all members"),
        line("graphs", f"{_size(size[0])} to {_size(size[1])}"),
    ]


def inspected(found: Mapping[str, Any]) -> str:
    """What ``facts`` has, in lines of at most ``LINE`` columns."""
    target = found["target"]
    classes = ", ".join(target["classes"])
    lines = [line(name, found[name]) for name in ("study_name", "version", "created", "git_commit")]
    simulated = " SIMULATED: no figure says anything about patients" * (found["cohort"] == "simulated")
    lines += [
        line("task", f"{found['task']}, {target['kind']}: {classes}"),
        line("data", f"sets {', '.join(found['data_sets'])}, digest {found['data_digest']}{simulated}"),
        line("protocol", found["protocol"]),
        line("made from", f"{found['training_groups']:,} groups, which its figures are not of"),
        line("profile", _profiled(found["profiled"])),
        line("ensemble", f"{found['combiner']}, calibrated by {found['calibrator']}"),
        line("thresholds", f"{_short(found['thresholds'])} by {found['threshold_rule']}"),
        line("parity", _parity(found["parity"])),
        "metrics",
    ]
    for name, one in found["metrics"].items():
        if one["mean"] is not None:
            ends = "" if one["low"] is None else f" ({one['low']:.4f}–{one['high']:.4f})"
            lines.append(line(f"  {name}", f"{one['mean']:.4f}{ends}", 25))
    if found["quantised"]:
        lines += _quantised(found["quantised"])
    lines += ["", f"{'member':33}{'runner':12}{'opset':>7}{'size':>10}{'parity':>10}"]
    for one in found["members"]:
        opset = str(one["opsets"].get("ai.onnx", "–"))
        parity = "–" if one["parity"] is None else _apart(one["parity"])
        folder = one["folder"] if len(one["folder"]) < 33 else "…" + one["folder"][-31:]
        lines.append(f"{folder:33}{one['runner']:12}{opset:>7}{_size(one['bytes']):>10}{parity:>10}")
    lines += ["", f"{len(found['files'])} files, {_size(found['bytes'])}; SHA-256"]
    lines += [_file(name, _size(one["bytes"]), one["sha256"]) for name, one in found["files"].items()]
    return "\n".join(lines)


def _file(name: str, size: str, sha: str) -> str:
    short = name if len(name) <= 50 else "…" + name[-49:]
    return f"{sha[:16]}… {size:>9}  {short}"


def _profiled(variables: int | None) -> str:
    return (
        "none: of an earlier version" if variables is None else f"{variables} variables of training records"
    )


def _parity(parity: Mapping[str, Any]) -> str:
    if not parity:
        return "never compared with its models: of an earlier version"
    most = max(parity["ensemble"], *parity["members"].values())
    return f"written within {_apart(most)} of its models, on {parity['n_records']} training records"


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_short(one) for one in value)
    return "–" if value is None else str(value)


def _apart(difference: float) -> str:
    return "0" if difference == 0 else f"{difference:.0e}"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.1f} kB"

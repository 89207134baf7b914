"""Times training steps of Halftone and of PyTorch side by side: a table, a summary against the project's targets, and a JSON file.

    python3 run.py --build BUILD [--quick] [--rows resnet20,perceptron] [--threads 1,2] [--variants halftone,torch-fp32-cl] ...

scripts/bench.sh (make bench, make bench-quick) builds what is needed and calls this with the right Python.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

import machine
import measure
import networks
import report

ROWS = [
    ("resnet20", 128), ("vgg16bn", 128), ("perceptron", 256),
    ("resnet18", 8), ("resnet18", 32), ("resnet50", 8), ("resnet50", 32),
    ("mobilenetv2", 8), ("mobilenetv2", 32), ("densenet121", 8), ("densenet121", 32), ("efficientnetb0", 8),
    ("convnexttiny", 8), ("vittiny", 32), ("minilm", 32), ("bertbase", 8), ("gpt2", 4), ("llama100m", 2),
]  # fmt: skip
QUICK_ROWS = "resnet20,perceptron"


def log(text):
    print(text, file=sys.stderr, flush=True)


def chosen(option, text, names, matches):
    """The names that the comma-separated patterns of an option select, in order; an error when one selects nothing."""
    out = []
    for pattern in filter(None, text.split(",")):
        found = [n for n in names if matches(n, pattern)]
        if not found:
            sys.exit(f"bench: {option} {pattern} selects nothing; there are: {', '.join(names)}")
        out += [n for n in found if n not in out]
    return [n for n in names if n in out]


def over_limit_in(rows, row, threads):
    """Variants that took over a minute a step with no larger batch and no fewer threads -> where. This row would take no less."""
    easier = [r for r in rows if r["network"] == row["network"] and r["threads"] >= threads and r["batch"] <= row["batch"]]
    return {name: f"{r['row']}, {report.threads_text(r)}" for r in easier for name, v in r["variants"].items() if v.get("over_limit") and "over_limit_in" not in v}


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default="build", help="build folder with bench_step (default: build)")
    p.add_argument("--quick", action="store_true", help=f"rows {QUICK_ROWS} with short turns: two to five minutes")
    p.add_argument("--rows", default="", help="comma-separated: a network, or network-bBATCH (default: all)")
    p.add_argument("--threads", default="1,2", help="comma-separated numbers of threads (default: 1,2)")
    p.add_argument("--variants", default="halftone,torch", help="comma-separated beginnings of names, e.g. halftone-fp16,torch-fp32 (default: all)")
    p.add_argument("--rounds", type=int, default=0, help="turns of every variant (default: 3, quick: 2)")
    p.add_argument("--turn", type=float, default=0, help="seconds a turn, at least one step (default: 2.5, quick: 0.5)")
    p.add_argument("--memory", type=float, default=0, help="GiB that workers alive together may take (default: three quarters of what is free)")
    p.add_argument("--isa", default="", help="HALFTONE_ISA for Halftone's workers: reference, avx2, avxvnni, avx512, avx512fp16 or amx")
    p.add_argument("--torch-isa", default="", help="ONEDNN_MAX_CPU_ISA for PyTorch's, e.g. AVX512_CORE_VNNI: as on CPUs without AMX")
    p.add_argument("--out", default="", help="the JSON file (default: BUILD/bench/results.json)")
    return p.parse_args()


def main():
    o = options()
    build = pathlib.Path(o.build).resolve()
    bench_step = build / "bench_step"
    if not bench_step.exists():
        sys.exit(f"bench: there is no {bench_step}; scripts/bench.sh builds it")
    names = [f"{n}-b{b}" for n, b in ROWS]
    rows = chosen("--rows", o.rows or (QUICK_ROWS if o.quick else ",".join(names)), names, lambda n, p: n == p or n.rsplit("-b", 1)[0] == p)
    dashed = {v.name.replace(" ", "-"): v for v in measure.VARIANTS}
    # A whole name selects itself alone: torch-fp32 isn't torch-fp32-cl too.
    variants = [dashed[n] for n in chosen("--variants", o.variants, list(dashed), lambda n, p: n == p or (p not in dashed and n.startswith(p)))]
    try:
        threads = sorted({int(t) for t in o.threads.split(",")})
        assert threads and threads[0] >= 1
    except (ValueError, AssertionError):
        sys.exit(f"bench: --threads {o.threads} is no list of numbers above 0, such as 1,2")
    if o.rounds < 0 or o.turn < 0 or o.memory < 0:
        sys.exit("bench: --rounds, --turn and --memory are numbers above 0 (0 is the default of each)")
    folder = build / "bench"
    settings = measure.Settings(
        folder=str(folder), bench_step=str(bench_step), python=sys.executable, rounds=o.rounds or (2 if o.quick else 3),
        turn_s=o.turn or (0.5 if o.quick else 2.5), memory_bytes=int(o.memory * 2**30) or machine.free_bytes() * 3 // 4,
        isa=o.isa, torch_isa=o.torch_isa,
    )  # fmt: skip
    out = pathlib.Path(o.out) if o.out else folder / "results.json"

    log("bench: networks and batches")
    wanted = [n.replace("-b", ":") for n in rows]
    done = subprocess.run([sys.executable, os.path.join(os.path.dirname(__file__), "networks.py"), str(folder), *wanted], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit("bench: the networks could not be made (messages above)")
    results = {
        "machine": machine.describe(build, json.loads(done.stdout.splitlines()[-1]), o.torch_isa),
        "command": " ".join(sys.argv[1:]),
        "rounds": settings.rounds,
        "turn_s": settings.turn_s,
        "isa": o.isa,
        "torch_isa": o.torch_isa,
        "rows": [],
    }
    print(report.heading(results), flush=True)

    begun = time.monotonic()
    for name in rows:
        network, _, batch = name.rpartition("-b")
        row = {"name": name, "network": network, "batch": int(batch), "classes": networks.NETWORKS[network].classes, "kind": networks.NETWORKS[network].kind}
        for count in reversed(threads):  # what is over the limit with more threads needn't be tried with fewer
            log(f"{name}, {count} thread{'s' if count > 1 else ''}")
            extra = [measure.ONE_THREAD] if count > 1 and any(v.name == "halftone fp16" for v in variants) else []
            over = over_limit_in(results["rows"], row, count)
            results["rows"].append(measure.Row(row, count, variants + extra, settings, log, over).measure())
            print(report.table(results["rows"][-1]), flush=True)
            results["seconds"] = time.monotonic() - begun
            # After every row, so that an interrupted run leaves what it has.
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(results, indent=1))
    print(report.summary(results), flush=True)
    log(f"bench: {results['seconds'] / 60:.1f} minutes; {out}")
    failed = [f"{r['row']} with {r['threads']} threads, {n}: {v['failed']}" for r in results["rows"] for n, v in r["variants"].items() if "failed" in v]
    for line in failed:
        log(f"bench: failed: {line}")
    if any("halftone" in line for line in failed):
        sys.exit(1)


if __name__ == "__main__":
    main()

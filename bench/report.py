"""Tables and the summary from the JSON that run.py writes.

    python3 report.py RESULTS.json

How ratios are formed: in each round a variant's median time is divided by that of the anchor (Halftone fp16, else fp32) in the
same round and group; a variant's relative time is the median of those over the rounds, and a ratio of two variants is the ratio of
their relative times. A ratio above 1 says how many times as fast, or for memory what part of the other. Beside them stand the ratios
of the fastest steps of a group, which a neighbour that comes and goes disturbs least; targets are for the medians.
"""
import json
import math
import statistics
import sys

from measure import ANCHORS

FP32 = ("torch fp32", "torch fp32-cl", "torch compile")
TORCH_VARIANTS = 6


# CPUs. Above it a row's times are no proof: with two threads, one that waits for a CPU holds up the other, in PyTorch far more than here.
BUSY = 0.1


def median_ms(variant):
    return statistics.median(ms for turn in variant["turns"] for ms in turn["ms"])


def fastest_ms(variant):
    return min(ms for turn in variant["turns"] for ms in turn["ms"])


def measured(variant):
    return bool(variant["turns"]) and "failed" not in variant and "over_limit" not in variant


def relative_times(row, fastest=False):
    """Variant -> time as a multiple of the anchor's: of medians in a round of a group, or of the fastest steps in a group."""
    variants = {n: v for n, v in row["variants"].items() if measured(v)}
    anchor = next((a for a in ANCHORS if a in variants), None)
    if anchor is None:
        if row["groups"] > 1:  # nothing ties the groups together
            return {}
        anchor = next(iter(variants), None)
    if anchor is None:
        return {}

    def times(variant):
        together = {}
        for t in variant["turns"]:
            together.setdefault(t["group"] if fastest else (t["group"], t["round"]), []).extend(t["ms"])
        return {key: min(ms) if fastest else statistics.median(ms) for key, ms in together.items()}

    anchors = times(variants[anchor])
    out = {}
    for name, v in variants.items():
        paired = [ms / anchors[key] for key, ms in times(v).items() if key in anchors]
        if paired:
            out[name] = statistics.median(paired)
    return out


def best(times, names):
    found = [n for n in names if n in times]
    return min(found, key=times.get) if found else None


def threads_text(row):
    return f"{row['threads']} thread{'s' if row['threads'] > 1 else ''}"


def torch_names(row):
    return [n for n in row["variants"] if n.startswith("torch ")]


def speed(row, name, other, fastest=False):
    """How many times as fast as `other` (a name or a list of which the fastest counts) `name` is; None when not measured."""
    times = relative_times(row, fastest)
    other = best(times, [other] if isinstance(other, str) else other)
    return times[other] / times[name] if name in times and other else None


def own_bytes(variant):
    """Peak resident memory without what the process had before model and batch: its libraries, for PyTorch 0.7 GB."""
    return variant["peak_rss_bytes"] - variant["base_bytes"]


# ------------------------------------------------------------------------------------------------------------- tables
def grid(header, lines):
    out = ["| " + " | ".join(header) + " |", "|" + "|".join("---" if i == 0 else "---:" for i in range(len(header))) + "|"]
    return "\n".join(out + ["| " + " | ".join(line) + " |" for line in lines])


def ratio(x):
    return "-" if x is None else f"{x:.2f}"


def remarks(v):
    out = []
    if v.get("skipped"):
        out.append(f"{v['skipped']} steps skipped (not finite)")
    if measured(v) and v.get("last_loss") is None:
        out.append("the loss is not finite")
    return "; ".join(out)


def not_measured_because(v):
    return f"not run: over 60 s in {v['over_limit_in']} already" if "over_limit_in" in v else v.get("failed", "")


def table(row):
    lines = []
    for name, v in row["variants"].items():
        if not measured(v):
            why = "over 60 s" if v.get("over_limit") else "failed"
            lines.append([name, why, *["-"] * 8, not_measured_because(v)])
            continue
        ms = median_ms(v)
        medians = [statistics.median(t["ms"]) for t in v["turns"]]
        lines.append([
            name, f"{ms:.1f}", f"{100 * (max(medians) - min(medians)) / ms:.0f} %", f"{fastest_ms(v):.1f}", f"{1e3 * row['batch'] / ms:.1f}",
            f"{v['peak_rss_bytes'] / 2**20:.0f}", f"{own_bytes(v) / 2**20:.0f}", ratio(speed(row, name, "halftone fp32")),
            ratio(speed(row, name, FP32)), ratio(speed(row, name, torch_names(row))), remarks(v),
        ])  # fmt: skip
    header = ["variant", "ms/step", "spread", "fastest", "samples/s", "peak MB", "own MB", "x halftone fp32", "x best PyTorch fp32", "x best PyTorch", "remarks"]
    groups = f"; {row['groups']} groups" if row["groups"] > 1 else ""
    cpus = f", CPU {' and '.join(map(str, row['cpus']))}" if "cpus" in row else ""
    busy = f"\n**Other processes kept {row['others_cpus']:.1f} CPUs busy meanwhile.**\n" if row["others_cpus"] > BUSY else ""
    return f"\n### {row['row']}, {threads_text(row)}{cpus}{groups}\n{busy}\n{grid(header, lines)}\n"


def heading(results):
    m = results["machine"]
    v = m["versions"]
    lines = [
        "# Training steps, side by side", "",
        f"- processor: {m['cpu']}; {m['cpus']} CPUs, {m['memory_free_bytes'] / 2**30:.0f} GiB free",
        f"- it has: {' '.join(m['flags'])}", f"- {m['amx']}",
        f"- Halftone {m['halftone']}, {m['build_type']}, {m['compiler']}" + (f", HALFTONE_ISA={results['isa']}" if results["isa"] else ""),
        "- " + ", ".join(f"{name} {version}" for name, version in v.items()),
        f"- {results['rounds']} rounds of turns of {results['turn_s']:g} s (at least one step), variants taking turns",
        "- SGD, momentum 0.9, weight decay 1e-4, cross-entropy; PyTorch's compile, bf16-autocast, bf16 and fp16 are channels last",
        "- spread: largest less smallest median of a turn; fastest: the fastest step, ms; own MB: peak less what the libraries took before; x: times as fast as",
    ]  # fmt: skip
    if m["load"] > 0.5:
        lines.append(f"- **{m['load']:.1f} other processes were running at the start: expect noise**")
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------------ summary
def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))


def verdict(ok, busy=False):
    return ("met" if ok else "not met") + (" (no proof)" if busy else "")


def over_rows(rows, value):
    """(row name, value) of those rows that have one."""
    pairs = [(r["row"], value(r)) for r in rows]
    return [(n, v) for n, v in pairs if v is not None]


def mean_and_worst(pairs, at_most=False):
    where, worst = (max if at_most else min)(pairs, key=lambda p: p[1])
    return geometric_mean([v for _, v in pairs]), worst, where


def measure_line(name, pairs, mean_target=None, worst_target=None, at_most=False, busy=False, fastest=()):
    """Geometric mean and worst over the rows, with what is asked of them; busy: other processes were in the way; fastest: the same by the fastest steps."""
    if not pairs:
        return [name, "-", "-", "-", "-", "not measured"]
    mean, worst, where = mean_and_worst(pairs, at_most)
    targets, ok = [], []
    for label, value, target in (("mean", mean, mean_target), ("every row", worst, worst_target)):
        if target is not None:
            targets.append(f"{label} {'<=' if at_most else '>='} {target:g}")
            ok.append(value <= target if at_most else value >= target)
    by_fastest = "{:.2f}, {:.2f} ({})".format(*mean_and_worst(fastest)) if fastest else "-"
    return [name, f"{mean:.2f}", f"{worst:.2f} ({where})", by_fastest, ", ".join(targets) or "none", verdict(all(ok), busy) if ok else "-"]


def memory_ratio(row, name, others, own):
    sizes = {n: own_bytes(v) if own else v["peak_rss_bytes"] for n, v in row["variants"].items() if measured(v)}
    found = [sizes[o] for o in others if o in sizes]
    return sizes[name] / min(found) if name in sizes and found else None


def used_isa(rows):
    return next((v["isa"] for r in rows for n, v in r["variants"].items() if n.startswith("halftone") and v.get("isa")), "")


def speed_lines(rows):
    fp16, fp32, bf16 = "halftone fp16", "halftone fp32", "halftone bf16"
    busy = any(r["others_cpus"] > BUSY for r in rows)
    isa = used_isa(rows)
    lines = []

    def add(name, variant, others, mean_target=None, worst_target=None, of=rows):
        medians, fastest = (over_rows(of, lambda r: speed(r, variant, others(r), by)) for by in (False, True))
        lines.append(measure_line(name, medians, mean_target, worst_target, busy=busy, fastest=fastest))

    def add_memory(name, others, target, own):
        lines.append(measure_line(name, over_rows(rows, lambda r: memory_ratio(r, fp16, others, own)), None, target, at_most=True))

    # Mean and every row.
    targets = {"avx2": (1.2, 1.0), "avx512": (1.8, 1.6), "avx512fp16": (1.8, 1.6), "amx": (1.8, 1.6)}.get(isa, (None, None))
    each = {"avx2": (None, 1.25), "avx512": (None, 1.6), "avx512fp16": (None, 1.6), "amx": (None, 1.6)}.get(isa, (None, None))
    for kind, asked in (("convolutional", targets), ("transformers", each), ("perceptron", (None, None))):
        of = [r for r in rows if r["kind"] == kind]
        if of:
            add(f"fp16 / own fp32, {kind}, {isa}", fp16, lambda r: fp32, *asked, of=of)
    add("fp16 / fastest PyTorch", fp16, torch_names, 3.0, 2.0)
    add("fp16 / fastest PyTorch fp32", fp16, lambda r: FP32)
    add("fp32 / fastest PyTorch fp32", fp32, lambda r: FP32, 1.3, 1.0)
    add("bf16 / fp16", bf16, lambda r: fp16, None, 0.9)
    if any(r["threads"] == 2 for r in rows):
        add("fp16, 2 threads / 1", fp16, lambda r: "halftone fp16, 1 thread", None, 1.85)
    add_memory("memory: fp16 / own fp32", [fp32], 0.52, False)
    add_memory("memory without libraries: fp16 / own fp32", [fp32], 0.52, True)
    add_memory("memory: fp16 / leanest PyTorch fp32", FP32, 0.5, False)
    add_memory("memory without libraries: fp16 / leanest PyTorch fp32", FP32, 0.5, True)
    return lines


def missing_variants(rows):
    """What the ratios had to do without."""
    out = []
    for r in rows:
        without = [n for n, v in r["variants"].items() if not measured(v)]
        if without:
            out.append(f"- {r['row']}, {threads_text(r)}: {', '.join(without)} gave no time (see the table)")
        if len(torch_names(r)) < TORCH_VARIANTS:
            out.append(f"- {r['row']}, {threads_text(r)}: the fastest of PyTorch is that of {len(torch_names(r))} variants of {TORCH_VARIANTS}")
    return out


def start_lines(results):
    """Sizes and start-up, which don't depend on the number of threads."""
    out = []
    size = results["machine"]["program_bytes"]
    if size:
        out.append(["program size", f"{size / 1e6:.1f} MB", "< 20 MB", verdict(size < 20e6)])
    for r in results["rows"]:
        v = r["variants"].get("halftone fp16")
        if r["network"] != "resnet50" or v is None or not measured(v):
            continue
        start_s = (v["first_step_ms"] - median_ms(v)) / 1e3
        name = f"start of {r['row']}, fp16, {threads_text(r)}, up to its first step"
        out.append([name, f"{start_s:.2f} s", "< 1 s", verdict(start_s < 1)])
    return out


def same_start(rows):
    """The first loss comes before any update, so all fp32 variants must agree on it, or they don't compute the same."""
    out = []
    for r in rows:
        losses = {n: v["first_loss"] for n, v in r["variants"].items() if n in (*FP32, "halftone fp32") and v.get("first_loss") is not None}
        if losses and max(losses.values()) > min(losses.values()) * 1.001:
            out.append(f"- {r['row']}, {threads_text(r)}: **first losses differ, the ratios mean nothing**: {losses}")
    return out


def summary(results):
    parts = ["\n## Summary\n"]
    header = ["measure", "geometric mean", "worst", "by the fastest steps", "target", ""]
    for threads in sorted({r["threads"] for r in results["rows"]}):
        rows = [r for r in results["rows"] if r["threads"] == threads]
        busy = [r["row"] for r in rows if r["others_cpus"] > BUSY]
        warning = f"**Other processes were running: no proof of speed in {', '.join(busy)}.**\n\n" if busy else ""
        parts.append(f"{threads_text(rows[0])}, {len(rows)} row{'s' if len(rows) > 1 else ''}\n\n{warning}{grid(header, speed_lines(rows))}\n")
    starts = start_lines(results)
    if starts:
        parts.append(grid(["measure", "", "target", ""], starts) + "\n")
    notes = same_start(results["rows"]) + missing_variants(results["rows"])
    if notes:
        parts.append("\n".join(notes) + "\n")
    return "\n".join(parts)


def main():
    with open(sys.argv[1]) as file:
        results = json.load(file)
    print(heading(results))
    for row in results["rows"]:
        print(table(row))
    print(summary(results))


if __name__ == "__main__":
    main()

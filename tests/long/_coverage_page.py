"""docs/coverage.md: written from the results of sweep.py, and read again for what is known not to train.

Results have the keys network:exporter:sizes, and of each a verdict (PASS, FAIL, or SKIP where PyTorch makes no file of it that ONNX Runtime agrees with),
a text, and by which program and library it was made."""
import re
import textwrap

HEAD = """# Networks that train

What becomes of ordinary exports: networks with random weights, in small sizes, by both of PyTorch's exporters (`torchscript`, opset 17, and `dynamo`,
opset 20), with static sizes and with a batch of any size. Each file is computed by ONNX Runtime first: where that refuses it or finds other numbers than
PyTorch, the exporter is at fault, and the file counts as not exported. Of the others, loss and every gradient are compared with PyTorch's (fp64 and fp32), fp16
and bf16 must be finite and close, one training step is made, and ONNX Runtime computes the written file. `tests/long/sweep.py` has the bounds.

This page is written by `make sweep` (hours; it goes on where it was stopped); `tests/long/sweep.py` alone tries a sample.
"""

# What a failure is about, by its text, in the order in which they are tried.
KINDS = (
    (r"draws (classes|new random numbers)", "random numbers in the network"),
    (r"depends on (its|the) (values|data)|known when", "sizes that depend on values"),
    (r"operator (\w+), opset", ""),
    (r"^fp16|^bf16|in fp16|in bf16", "16 bits"),
    (r"no gradient of", "numbers that are taken for constants"),
    (r"^fp32|^fp64", "other numbers"),
    (r"^train", "the training step"),
    (r"longer than", "takes too long"),
)


def kind_of(text):
    for pattern, kind in KINDS:
        found = re.search(pattern, text)
        if found:
            return kind or found.group(1)
    return "else"


def cell(text):
    return re.sub(r"\s+", " ", text.replace("|", "/")).strip()


def short_reason(text):
    """Without names of nodes and folders, which differ from run to run."""
    text = re.sub(r"halftone: \S+: ", "", text)
    text = re.sub(r"Halftone cannot train this network: \| ", "", text)
    return cell(text)[:260]


def write(results, listed, path):
    """`listed`: the keys of all exports that a whole sweep tries."""
    libraries = {}
    for key, result in sorted(results.items()):
        network, exporter, sizes = key.rsplit(":", 2)
        library, name = network.split("/", 1)
        libraries.setdefault(library, {}).setdefault(name, {})[exporter, sizes] = result
    lines = [HEAD, *totals(libraries, listed)]
    made = sorted({(r["version"], r["library"]) for r in results.values()})
    packages = sorted({p for _, x in made for p in x.split(", ")})
    lines += ["", *wrapped("Made with " + ", ".join(sorted({v for v, _ in made}) + packages) + ".")]
    lines += by_kind(results)
    for library, networks in libraries.items():
        lines += ["", f"## {library}", ""]
        whole = [n for n, tried in networks.items() if trained(tried)]
        if whole:
            lines += wrapped("Every export that was tried trains: " + ", ".join(whole) + ".")
        failed = [(n, e, r) for n, tried in networks.items() for e, r in sorted(tried.items()) if r["verdict"] == "FAIL"]
        if failed:
            lines += ["", "| network | exporter | sizes | why it does not train |", "|---|---|---|---|"]
            lines += [f"| {n} | {e[0]} | {e[1]} | {short_reason(r['text'])} |" for n, e, r in failed]
        none = [n for n, tried in networks.items() if all(r["verdict"] == "SKIP" for r in tried.values())]
        if none:
            lines += ["", "| network | why there is no file to train |", "|---|---|"]
            lines += [f"| {n} | {cell(next(iter(networks[n].values()))['text'])[:160]} |" for n in none]
    path.write_text("\n".join(lines) + "\n")


def trained(tried):
    verdicts = {r["verdict"] for r in tried.values()}
    return "FAIL" not in verdicts and "PASS" in verdicts


def wrapped(text):
    return textwrap.wrap(text, 150, break_long_words=False, break_on_hyphens=False)


def percent(part, whole):
    return f"{part} of {whole} ({100 * part / whole:.0f} %)" if whole else "none"


def totals(libraries, listed):
    lines = ["| library | networks of which every export trains | exports that train | files that PyTorch does not make | not tried yet |", "|---|---|---|---|---|"]
    for library, networks in libraries.items():
        exported = {n: t for n, t in networks.items() if any(r["verdict"] != "SKIP" for r in t.values())}
        all_results = [r["verdict"] for t in networks.values() for r in t.values()]
        lines.append(f"| {library} | {percent(sum(map(trained, exported.values())), len(exported))} | "
                     f"{percent(all_results.count('PASS'), len(all_results) - all_results.count('SKIP'))} | {all_results.count('SKIP')} | "
                     f"{sum(k.startswith(library + '/') for k in listed) - len(all_results)} |")  # fmt: skip
    return lines


def by_kind(results):
    counts = {}
    for key, result in results.items():
        if result["verdict"] == "FAIL":
            counts.setdefault(kind_of(result["text"]), set()).add(key)
    if not counts:
        return []
    lines = ["", "What fails, by kind:", "", "| kind | exports | networks |", "|---|---|---|"]
    for kind, keys in sorted(counts.items(), key=lambda c: (-len(c[1]), c[0])):
        networks = sorted({k.rsplit(":", 2)[0] for k in keys})
        lines.append(f"| {kind} | {len(keys)} | {', '.join(networks[:8])}{', …' if len(networks) > 8 else ''} |")
    return lines


def listed_failures(path):
    """The keys of what the page lists as not training."""
    if not path.exists():
        return set()
    found, library = set(), ""
    for line in path.read_text().splitlines():
        if line.startswith("## "):
            library = line[3:]
        row = [c.strip() for c in line.split("|")[1:-1]]
        if len(row) == 4 and row[2] in ("static", "dynamic"):
            found.add(f"{library}/{row[0]}:{row[1]}:{row[2]}")
    return found

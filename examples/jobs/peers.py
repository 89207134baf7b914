"""The jobs of this folder in PyTorch (fp32, eager, the same batch, steps, optimizer and schedule): accuracy, seconds and peak memory to set beside Halftone's.

    python3 peers.py sections|tags|gpt2|llama|table FOLDER [--seeds 3] [--steps N] [--threads N] [--lora] [--lr LR]

FOLDER is what prepare.py filled; gpt2, llama and table also need the base network that the job's script trained (FOLDER/base/model.onnx), whose weights are
taken. --lora: PEFT's adapters, r=8 and alpha=16, on the layers that Halftone adapts.
"""
import argparse
import csv
import json
import math
import pathlib
import resource
import sys
import time

import numpy as np
import onnx
import prepare
import torch
from onnx import numpy_helper

parser = argparse.ArgumentParser()
parser.add_argument("job", choices=["sections", "tags", "gpt2", "llama", "table"])
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--seeds", type=int, default=3)
parser.add_argument("--steps", type=int, default=0)
parser.add_argument("--threads", type=int, default=0)
parser.add_argument("--lora", action="store_true")
parser.add_argument("--lr", type=float, default=0)
a = parser.parse_args()
if a.threads:
    torch.set_num_threads(a.threads)


def built(job, folder):
    """The module that prepare.py exported, with the weights it began with."""
    made = []
    prepare.export = lambda module, *rest: made.append(module)
    prepare.texts = prepare.tokenizer = lambda *_: None
    if job in ("gpt2", "llama"):
        prepare.language_model(job, folder)
    elif job == "table":
        torch.manual_seed(0)
        return prepare.perceptron()
    else:
        classes = prepare.SECTIONS if job == "sections" else len(tag_names())
        prepare.minilm(folder, classes, each_token=job == "tags")
    return made[0]


def tag_names():
    return sorted({t for line in open(a.folder / "train.jsonl") for t in json.loads(line)["tags"]})


def initializers(path):
    return {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}


def with_weights(module, start, trained):
    """The module with the weights of `trained`: each of its own is found by its values in `start`, transposed or not."""
    first, now = initializers(start), initializers(trained)
    with torch.no_grad():
        for name, p in module.named_parameters():
            own = p.numpy()
            for key, value in first.items():
                if value.shape == own.shape and np.array_equal(value, own):
                    p.copy_(torch.from_numpy(now[key].copy()))
                    break
                if value.ndim == 2 and value.T.shape == own.shape and np.array_equal(value.T, own):
                    p.copy_(torch.from_numpy(now[key].T.copy()))
                    break
            else:
                sys.exit(f"{name} is not in {start}")
    return module


class Texts:
    """Token ids, padded to the batch's longest; a class for each text or token."""

    def __init__(self, ids, labels):
        self.ids, self.labels = ids, labels

    def __len__(self):
        return len(self.ids)

    def batch(self, at):
        length = max(len(self.ids[i]) for i in at)
        ids, mask = np.zeros((len(at), length), np.int64), np.zeros((len(at), length), np.int64)
        labels = np.full((len(at), length), -100, np.int64)
        for row, i in enumerate(at):
            ids[row, : len(self.ids[i])], mask[row, : len(self.ids[i])] = self.ids[i], 1
            if not np.isscalar(self.labels[i]):
                labels[row, : len(self.labels[i])] = self.labels[i]
        if np.isscalar(self.labels[0]):
            labels = np.array([self.labels[i] for i in at])
        return (torch.from_numpy(ids), torch.from_numpy(mask)), torch.from_numpy(labels)


class Arrays:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def batch(self, at):
        return (self.x[at],), self.y[at]


def tokenizer(length=None):
    import tokenizers

    t = tokenizers.Tokenizer.from_file(str(a.folder / "tokenizer.json"))
    t.no_padding()
    if length:
        t.enable_truncation(length)
    return t


def sections():
    rows = list(csv.DictReader(open(a.folder / "sections.csv", newline="")))
    names = sorted({r["section"] for r in rows})
    ids = [e.ids for e in tokenizer(128).encode_batch([r["description"] for r in rows])]
    labels = [names.index(r["section"]) for r in rows]
    cut = len(rows) * 9 // 10
    return Texts(ids[:cut], labels[:cut]), Texts(ids[cut:], labels[cut:])


def tags():
    names, sets = tag_names(), []
    for part in ("train", "val"):
        samples = [json.loads(line) for line in open(a.folder / f"{part}.jsonl")]
        ids, labels = [], []
        for s in samples:
            e = tokenizer(128).encode(s["tokens"], is_pretokenized=True)
            ids.append(e.ids)
            first = [w is not None and (k == 0 or e.word_ids[k - 1] != w) for k, w in enumerate(e.word_ids)]
            labels.append(np.array([names.index(s["tags"][w]) if f else -100 for w, f in zip(e.word_ids, first)]))
        sets.append(Texts(ids, labels))
    return sets


def language():
    sets = []
    for part in ("second", "second-val"):
        t = tokenizer()
        lines = [line for line in (a.folder / f"{part}.txt").read_text().split("\n") if line]
        stream = np.concatenate([[*e.ids, 0] for e in t.encode_batch(lines)])
        blocks = (len(stream) - 1) // prepare.BLOCK
        x = torch.from_numpy(stream[: blocks * prepare.BLOCK].reshape(blocks, -1).astype(np.int64))
        y = torch.from_numpy(stream[1 : blocks * prepare.BLOCK + 1].reshape(blocks, -1).astype(np.int64))
        sets.append(Arrays(x, y))
    return sets


def table():
    rows = np.genfromtxt(a.folder / "diamonds.csv", delimiter=",", skip_header=1, dtype=np.float32)
    n = len(rows)
    part = lambda r: Arrays(torch.from_numpy(r[:, :-1].copy()), torch.from_numpy(r[:, -1:].copy()))  # noqa: E731
    return part(rows[n * 2 // 5 : n * 4 // 5]), part(rows[n * 4 // 5 :])


# data, batch, steps (0: an epoch; negative: so many epochs), learning rate, warm-up, schedule
JOBS = {
    "sections": (sections, 32, 400, 1e-4, 40, "linear"),
    "tags": (tags, 32, 0, 1e-4, 20, "linear"),
    "gpt2": (language, 16, 0, 5e-4, 20, "cosine"),
    "llama": (language, 16, 0, 5e-4, 20, "cosine"),
    "table": (table, 64, -5, 1e-3, 0, "cosine"),
}


def loss_of(module, inputs, labels):
    out = module(*inputs)
    if labels.dtype.is_floating_point:
        return torch.nn.functional.mse_loss(out, labels), out
    return torch.nn.functional.cross_entropy(out.reshape(-1, out.shape[-1]), labels.reshape(-1), ignore_index=-100), out


@torch.no_grad()
def evaluate(module, data, batch):
    module.eval()
    total, right, count = 0.0, 0, 0
    for i in range(0, len(data), batch):
        inputs, labels = data.batch(np.arange(i, min(len(data), i + batch)))
        loss, out = loss_of(module, inputs, labels)
        n = labels.numel() if labels.dtype.is_floating_point else int((labels != -100).sum())
        total, count = total + float(loss) * n, count + n
        if not labels.dtype.is_floating_point:
            right += int((out.argmax(-1) == labels).sum())
    return total / count, right / count


def train(module, data, seed, batch, steps, lr, warmup, schedule):
    module.train()
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=lr)
    order, began = [], time.monotonic()
    for step in range(steps):
        if len(order) < batch:
            order = list(rng.permutation(len(data)))
        at, order = np.array(order[:batch]), order[batch:]
        done = max(0, step - warmup) / max(1, steps - warmup)
        factor = (step + 1) / warmup if step < warmup else 1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
        for group in optimizer.param_groups:
            group["lr"] = lr * factor
        optimizer.zero_grad()
        loss, _ = loss_of(module, *data.batch(at))
        loss.backward()
        optimizer.step()
    return time.monotonic() - began


def main():
    load, batch, steps, lr, warmup, schedule = JOBS[a.job]
    train_data, val = load()
    steps = a.steps or steps
    if steps <= 0:
        steps = max(1, -steps) * (len(train_data) // batch)
    found = []
    for seed in range(a.seeds):
        module = built(a.job, a.folder.resolve())
        if a.job in ("gpt2", "llama", "table"):
            with_weights(module, a.folder / "start.onnx", a.folder / "base" / "model.onnx")
        if a.lora:
            import peft

            names = [n for n, m in module.named_modules() if type(m).__name__ in ("Linear", "Conv1D") and "lm_head" not in n]
            torch.manual_seed(seed)
            module = peft.get_peft_model(module, peft.LoraConfig(r=8, lora_alpha=16, target_modules=names))
        before = evaluate(module, val, batch)
        seconds = train(module, train_data, seed, batch, steps, a.lr or lr, warmup, schedule)
        after = evaluate(module, val, batch)
        found.append((*after, seconds))
        print(f"seed {seed}: loss {before[0]:.4f} -> {after[0]:.4f}, accuracy {100 * before[1]:.2f} -> {100 * after[1]:.2f} %, {steps} steps in {seconds:.1f} s", flush=True)
    f = np.array(found)
    half = 0 if len(f) < 2 else {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}[len(f)] / math.sqrt(len(f))
    spread = f.std(0, ddof=1) * half if len(f) > 1 else f[0] * 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"PyTorch {torch.__version__} fp32, {torch.get_num_threads()} threads: loss {f[:, 0].mean():.4f} ± {spread[0]:.4f}, accuracy {100 * f[:, 1].mean():.2f} ± "
        f"{100 * spread[1]:.2f} %, {np.median(f[:, 2]):.1f} s, peak {peak:.0f} MiB"
    )


main()

"""Sentence embeddings train as sentence-transformers trains them: the same network, texts, loss and optimizer, in fp32.

A small BERT (drawn anew), its tokenizer trained on this repository's pages. Of each loss (pairs with in-batch negatives, with hard negatives too, scored
pairs, triplets) and pooling (mean, cls, max, and inside the file) some steps of SGD and AdamW on a table whose rows are one batch, so that the order does
not matter:
1. the loss of each step,
2. the weights at the end,
3. what predict gives for each text: the library's own encoding by those weights.

PyTorch in double is what both are held against. Bound: Halftone's fp32 may be off by eight times what PyTorch's fp32 is off (two programs that sum in
different orders), and an error of one unit in the last place of the largest number for each step (the rounding of the stored weights). The biases of attention's keys stay as they are, and the last one, which distances of triplets do not depend on
either: their gradients are rounding errors alone, which AdamW makes full steps of.
"""
import copy
import csv
import json
import random
import warnings

import numpy as np

from _common import ROOT, Report, arguments, leave_skipped, run

warnings.filterwarnings("ignore")
try:
    import torch
    from sentence_transformers import SentenceTransformer, losses, models
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors, trainers
    from tokenizers import models as token_models
    from transformers import BertConfig, BertModel
except ImportError as e:
    leave_skipped(str(e))

a = arguments(__doc__, only=("", "the case's name contains this"), steps=(4, "steps of each run"))
report = Report()
BATCH = 12
FROZEN = ("key.bias", "layer.1.output.LayerNorm.bias")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def tokenizer():
    pages = [p.read_text() for p in sorted((ROOT / "docs").glob("*.md"))[:6]]
    t = Tokenizer(token_models.WordPiece(unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(pages, trainers.WordPieceTrainer(vocab_size=400, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"]))
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    t.enable_truncation(48)
    return t, [line for page in pages for line in page.split("\n") if 20 < len(line) < 120 and '"' not in line and "|" not in line]


class Body(torch.nn.Module):
    """The network, as a first module of the library: features in, features with vectors of the tokens out."""

    def __init__(self, inside):
        super().__init__()
        torch.manual_seed(3)
        config = BertConfig(vocab_size=400, hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48, max_position_embeddings=64,
                            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2, attn_implementation="eager")
        self.bert, self.inside = BertModel(config, add_pooling_layer=False), inside
        # The exporter makes one tensor of equal ones, which would be trained as one.
        for p in self.bert.parameters():
            if p.dim() == 1:
                p.data += 0.1 * torch.randn_like(p)

    def embed(self, input_ids, attention_mask, token_type_ids):
        x = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).last_hidden_state
        if not self.inside:
            return x
        mask = attention_mask.unsqueeze(-1).to(x.dtype)
        return torch.nn.functional.normalize((x * mask).sum(1) / mask.sum(1), dim=1)

    def forward(self, features, **_):
        y = self.embed(*(features[k] for k in INPUTS)) if isinstance(features, dict) else None
        return {**features, ("sentence_embedding" if self.inside else "token_embeddings"): y}


class Exported(torch.nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, *inputs):
        return self.body.embed(*inputs)


def export(body, path):
    x = torch.randint(4, 400, (2, 8))
    axes = {n: {0: "batch", 1: "tokens"} for n in INPUTS} | {"y": {0: "batch"} if body.inside else {0: "batch", 1: "tokens"}}
    torch.onnx.export(Exported(body), (x, torch.ones_like(x), torch.zeros_like(x)), str(path), opset_version=17, dynamo=False, do_constant_folding=False,
                      input_names=list(INPUTS), output_names=["y"], dynamic_axes=axes)


def features(t, texts):
    t.enable_padding(length=None)
    e = t.encode_batch(texts)
    as_tensor = lambda rows: torch.tensor(rows)
    return {"input_ids": as_tensor([x.ids for x in e]), "attention_mask": as_tensor([x.attention_mask for x in e]),
            "token_type_ids": as_tensor([x.type_ids for x in e])}


def library(body, pooling, unit):
    modules = [body]
    if pooling != "none":
        modules.append(models.Pooling(24, pooling_mode=pooling))
    if unit:
        modules.append(models.Normalize())
    return SentenceTransformer(modules=modules, device="cpu")


LOSSES = {
    "in-batch-negatives": lambda m: losses.MultipleNegativesRankingLoss(m, scale=20.0),
    "cosine": lambda m: losses.CosineSimilarityLoss(m),
    "triplet": lambda m: losses.TripletLoss(m, triplet_margin=1.0),
}
OPTIMIZERS = {
    "sgd": (["--optimizer", "sgd", "--lr", "0.05", "--momentum", "0.9"], lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    "adamw": (["--optimizer", "adamw", "--lr", "0.001"], lambda p: torch.optim.AdamW(p, lr=0.001, weight_decay=0.0)),
}


def trained(body, pooling, unit, loss_name, columns, scores, make_optimizer, t, dtype):
    body = copy.deepcopy(body).to(dtype)
    for parameter_name, p in body.named_parameters():
        p.requires_grad_(not parameter_name.endswith(FROZEN))
    model = library(body, pooling, unit)
    loss = LOSSES[loss_name](model).to(dtype)
    optimizer = make_optimizer([p for p in model.parameters() if p.requires_grad])
    values = []
    for _ in range(a.steps):
        optimizer.zero_grad()
        value = loss([features(t, texts) for texts in columns], None if scores is None else torch.tensor(scores, dtype=dtype))
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    weights = {"body." + k: v.detach().double().numpy() for k, v in body.named_parameters()}
    with torch.no_grad():
        first = model(features(t, columns[0]))["sentence_embedding"].double().numpy()
    return values, weights, first


def onnx_weights(path):
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    return {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}


def check(name, t, lines, pooling, loss_name, texts, optimizer):
    inside = pooling == "inside"
    pooling = "none" if inside else pooling
    unit = loss_name != "triplet"
    folder = a.work / name.replace(" ", "-")
    folder.mkdir(exist_ok=True)
    body = Body(inside)
    export(body, folder / "net.onnx")
    t.no_padding()
    t.save(str(folder / "tokenizer.json"))
    draw = random.Random(name)
    columns = [draw.sample(lines, BATCH) for _ in range(texts)]
    scores = [round(draw.random(), 3) for _ in range(BATCH)] if loss_name == "cosine" else None
    names = ["a", "b", "c"][:texts]
    with open(folder / "data.csv", "w", newline="") as f:
        w = csv.writer(f)
        w.writerow(names + (["score"] if scores else []))
        w.writerows(zip(*columns, *([scores] if scores else [])))
    options, make_optimizer = OPTIMIZERS[optimizer]
    command = [a.halftone, "train", folder / "net.onnx", "--data", folder / "data.csv", "--val", "none", "--task", "embeddings", "--text", ",".join(names),
               "--loss", loss_name, "--pooling", pooling, "--batch", BATCH, "--epochs", a.steps, "--precision", "fp32", "--log-every", "1", "--quiet",
               *(["--margin", 1] if loss_name == "triplet" else []),
               "--weight-decay", "0", *(x for name in FROZEN for x in ("--freeze", "*" + name)), "--out", folder / "run", "--overwrite", *options, *(["--label", "score"] if scores else [])]
    done = run(*command)
    if done.code:
        return report.check(False, f"{name}: {done.err.strip()[-400:]}")
    exact, weights64, first64 = trained(body, pooling, unit, loss_name, columns, scores, make_optimizer, t, torch.float64)
    single, weights32, first32 = trained(body, pooling, unit, loss_name, columns, scores, make_optimizer, t, torch.float32)
    ours = [json.loads(line)["loss"] for line in (folder / "run" / "events.jsonl").read_text().splitlines() if '"loss"' in line]

    def within(what, got, like, wanted):
        got, like, wanted = (np.asarray(x, np.float64) for x in (got, like, wanted))
        off, allowed = np.abs(got - wanted).max(), 8 * np.abs(like - wanted).max() + a.steps * 2.0**-23 * np.abs(wanted).max()
        report.check(got.shape == wanted.shape and off <= allowed and np.abs(wanted).max() > 0, f"{name}: {what} off by {off:.2g}, allowed {allowed:.2g}")

    within("losses", ours, single, exact)
    after, before = onnx_weights(folder / "run" / "model.onnx"), onnx_weights(folder / "net.onnx")
    seen = [k for k in after if k in weights64 and after[k].shape == weights64[k].shape]
    report.check(len(seen) >= 10 and any((after[k] != before[k]).any() for k in seen), f"{name}: {len(seen)} tensors are compared")
    flat = lambda w: np.concatenate([np.asarray(w[k], np.float64).ravel() for k in seen])
    within("weights", flat(after), flat(weights32), flat(weights64))
    moved = flat(weights64) - flat(before)
    report.check(np.abs(flat(after) - flat(weights64)).mean() < 1e-3 * np.abs(moved).mean(), f"{name}: weights moved by {np.abs(moved).max():.2g}")
    predicted = run(a.halftone, "predict", folder / "run", "--data", folder / "data.csv", "--text", "a", "--out", folder / "y.npy", "--overwrite", "--precision",
                    "fp32", "--quiet")
    if predicted.code:
        return report.check(False, f"{name}: predict: {predicted.err.strip()[-300:]}")
    within("embeddings", np.load(folder / "y.npy"), first32, first64)


t, lines = tokenizer()
for loss_name, texts in (("in-batch-negatives", 2), ("in-batch-negatives", 3), ("cosine", 2), ("triplet", 3)):
    for pooling in ("mean", "cls", "max", "inside"):
        for optimizer in ("sgd", "adamw") if pooling == "mean" else ("sgd",):
            name = f"{loss_name} {texts} {pooling} {optimizer}"
            if a.only in name:
                check(name, t, lines, pooling, loss_name, texts, optimizer)
report.close()

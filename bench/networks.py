"""The networks of the benchmark: how PyTorch builds them, and their ONNX files and batches for the other side.

    python3 networks.py FOLDER [NETWORK:BATCH ...]

writes FOLDER/NETWORK.onnx (batch norms kept) and FOLDER/NETWORK-bBATCH.{samples,labels}.npy unless they are there already, and
prints one JSON line with the versions of what wrote them. Weights and batches come from fixed seeds (tests/fixtures/models.py), so
bench_step and torch_step.py start from the same numbers.
"""
import dataclasses
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE.parent / "tests" / "fixtures"
OPSET = 17


@dataclasses.dataclass(frozen=True)
class Network:
    sample: tuple  # its shape
    classes: int
    kind: str = "convolutional"  # the summary has a line for each
    words: int = 0  # samples are ids below this, and not numbers
    next_word: bool = False  # a class for each position of the sample


PICTURE = (3, 224, 224)
NETWORKS = {
    "resnet20": Network((3, 32, 32), 10),
    "vgg16bn": Network((3, 32, 32), 10),
    "resnet18": Network(PICTURE, 1000),
    "resnet50": Network(PICTURE, 1000),
    "mobilenetv2": Network(PICTURE, 1000),
    "densenet121": Network(PICTURE, 1000),
    "efficientnetb0": Network(PICTURE, 1000),
    "perceptron": Network((784,), 10, "perceptron"),
    "convnexttiny": Network(PICTURE, 1000, "transformers"),
    "vittiny": Network(PICTURE, 1000, "transformers"),
    "minilm": Network((128,), 10, "transformers", words=30522),
    "bertbase": Network((128,), 10, "transformers", words=30522),
    "gpt2": Network((256,), 50257, "transformers", words=50257, next_word=True),
    "llama100m": Network((512,), 32000, "transformers", words=32000, next_word=True),
}
# Built by the package of that name, with its own random weights.
BY_TRANSFORMERS = ("minilm", "bertbase", "gpt2", "llama100m")


def models():
    sys.path.insert(0, str(FIXTURES))
    import models as module

    return module


def load(name):
    """Imports what build() needs. Imports stand where they are used: torchvision takes seconds, and the perceptron has no need of it."""
    if name in BY_TRANSFORMERS:
        import transformers  # noqa: F401
    elif name == "vittiny":
        import timm  # noqa: F401
    if name != "perceptron":
        models()


def language_model(name):
    """Gives logits; without a mask, since no sample of the batch is padded. Dropout is 0."""
    import transformers as hf
    from torch import nn

    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    small = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
    if name in ("minilm", "bertbase"):
        config = hf.BertConfig(num_labels=NETWORKS[name].classes, **still, **(small if name == "minilm" else {}))
        net = hf.BertForSequenceClassification(config)
    elif name == "gpt2":
        net = hf.GPT2LMHeadModel(hf.GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, use_cache=False))
    else:  # 104 million parameters: rotary embedding, RMS norms, SwiGLU, grouped heads, one table for words in and out
        net = hf.LlamaForCausalLM(hf.LlamaConfig(
            vocab_size=NETWORKS[name].words, hidden_size=768, intermediate_size=2048, num_hidden_layers=12, num_attention_heads=12, num_key_value_heads=4,
            max_position_embeddings=512, tie_word_embeddings=True, use_cache=False,
        ))  # fmt: skip

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, ids):
            return self.net(input_ids=ids).logits

    return Logits()


def architecture(name):
    from torch import nn

    if name == "perceptron":
        return nn.Sequential(nn.Linear(784, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 10))
    if name == "resnet20":
        return models().ResNet20()
    if name == "vittiny":
        import timm

        return timm.create_model("vit_tiny_patch16_224")
    import torchvision

    if name == "vgg16bn":
        # The usual form for 32x32: torchvision's features, which leave one pixel, and a single linear layer.
        return nn.Sequential(torchvision.models.vgg16_bn().features, nn.Flatten(), nn.Linear(512, 10))
    build = {"mobilenetv2": "mobilenet_v2", "efficientnetb0": "efficientnet_b0", "convnexttiny": "convnext_tiny"}.get(name, name)
    return getattr(torchvision.models, build)()


def build(name):
    """The network with seeded weights in training mode; dropout is 0, since its random draws differ between programs."""
    import torch

    if name in BY_TRANSFORMERS:
        torch.manual_seed(77)
        return language_model(name).train()
    net = architecture(name)
    for m in net.modules():
        if type(m).__name__ == "StochasticDepth":
            m.p = 0.0
    if name == "perceptron":
        generator = torch.Generator().manual_seed(77)
        for p in net.parameters():
            with torch.no_grad():
                p.copy_(torch.randn(p.shape, generator=generator) * ((1.6 / p.shape[1]) ** 0.5 if p.dim() > 1 else 0.1))
        return net.train()
    return models().set_weights(net, seed=77).train()


def batch(name, size):
    import numpy as np

    network = NETWORKS[name]
    rng = np.random.default_rng(1)
    if network.next_word:
        words = rng.integers(0, network.words, (size, network.sample[0] + 1))
        return words[:, :-1].astype(np.int64), words[:, 1:].astype(np.int32)
    if network.words:
        return rng.integers(0, network.words, (size, *network.sample)), rng.integers(0, network.classes, size).astype(np.int32)
    return rng.standard_normal((size, *network.sample)).astype(np.float32), rng.integers(0, network.classes, size).astype(np.int32)


def is_current(path):
    sources = (pathlib.Path(__file__), FIXTURES / "models.py")
    return path.exists() and path.stat().st_mtime > max(s.stat().st_mtime for s in sources)


def write(path, save):
    """Under another name first, so that an interrupted run leaves no half file behind."""
    partial = path.with_name(f"partial-{path.name}")
    save(partial)
    partial.replace(path)


def prepare(folder, name, size):
    model = folder / f"{name}.onnx"
    if not is_current(model):
        import onnx

        sample = batch(name, 2)[0]
        if name in BY_TRANSFORMERS:  # the older exporter cannot export their causal masks
            exported = models().export_dynamo(build(name), sample, 20, "folded")
        else:
            exported = models().export_torchscript(build(name), sample, OPSET, "preserve")
        write(model, lambda p: onnx.save(exported, str(p)))
    files = [folder / f"{name}-b{size}.{part}.npy" for part in ("samples", "labels")]
    if not all(is_current(f) for f in files):
        import numpy as np

        for file, values in zip(files, batch(name, size)):
            write(file, lambda p: np.save(p, values))


def versions():
    import importlib.metadata
    import importlib.util
    import re

    import torch

    config = torch.__config__.show()
    found = re.search(r"MKL-DNN v([\w.]+)", config)
    return {
        "PyTorch": torch.__version__,
        **{p: importlib.metadata.version(p) for p in ("transformers", "timm") if importlib.util.find_spec(p)},
        "oneDNN": found.group(1) if found else "not in this build",
        "MKL": "used" if "BLAS_INFO=mkl" in config else "not used",
        "Python": sys.version.split()[0],
        "PyTorch's CPU capability": torch.backends.cpu.get_cpu_capability(),
    }


if __name__ == "__main__":
    target = pathlib.Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for wanted in sys.argv[2:]:
        network, _, count = wanted.partition(":")
        if network not in NETWORKS:
            sys.exit(f"networks.py: no network is called {network}; there are: {', '.join(NETWORKS)}")
        prepare(target, network, int(count))
    print(json.dumps(versions()))

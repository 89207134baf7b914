"""Is what Halftone would train what PyTorch would train? Networks of torchvision and timm with random weights are exported by both of
PyTorch's exporters; every tensor of the file is traced back by its values to a parameter or a buffer of the module, and compared with the role
that `halftone inspect --json` reports. Networks that cannot be trained yet count too: roles are found before anything is refused.

A tensor counts as a parameter's when most of its values are that parameter's (all values are random, so a match is no accident); a tensor whose
values were computed by the exporter (a batch norm folded into a convolution) must be trained where it is a weight or bias.

    python3 tests/long/roles_vs_torch.py --halftone build/halftone [--only PART_OF_NAME] [--exporters torchscript,dynamo] [--work DIR]
With --work, files that were exported before are used again.
"""
import contextlib
import io
import json
import warnings

import numpy as np

from _common import Report, arguments, leave_skipped, run

# One small member of each family; the number is the input's size in pixels (0: the network's own).
TORCHVISION = {
    "alexnet": 224, "densenet121": 64, "efficientnet_b0": 64, "googlenet": 64, "inception_v3": 128, "mnasnet0_5": 64,
    "mobilenet_v2": 64, "mobilenet_v3_small": 64, "regnet_x_400mf": 64, "regnet_y_400mf": 64, "resnet18": 64, "resnext50_32x4d": 64,
    "shufflenet_v2_x0_5": 64, "squeezenet1_1": 64, "vgg11_bn": 224, "convnext_tiny": 64, "swin_t": 64, "swin_v2_t": 64, "vit_b_32": 64,
    "maxvit_t": 224,
}
TIMM = {
    "hgnetv2_b0": 64, "convformer_s18": 64, "caformer_s18": 64, "levit_128s": 0, "efficientvit_b0": 64, "efficientvit_m0": 0, "tiny_vit_5m_224": 0,
    "efficientformer_l1": 0, "efficientformerv2_s0": 0, "beit_base_patch16_224": 64, "swin_tiny_patch4_window7_224": 0,
    "swinv2_cr_tiny_ns_224": 0, "vit_tiny_patch16_224": 64, "deit_tiny_distilled_patch16_224": 64, "cait_xxs24_224": 64, "xcit_nano_12_p16_224": 64,
    "convnextv2_atto": 64, "mobilenetv3_small_050": 64, "mobilenetv4_conv_small": 64, "pvt_v2_b0": 64, "poolformer_s12": 64, "resmlp_12_224": 0,
    "gmlp_ti16_224": 0, "edgenext_xx_small": 64, "fastvit_t8": 64, "repvit_m0_9": 64, "ghostnet_050": 64, "mobileone_s0": 64, "coat_lite_tiny": 0,
    "crossvit_9_240": 0, "twins_pcpvt_small": 64, "pit_ti_224": 0, "visformer_tiny": 0, "mvitv2_tiny": 64, "davit_tiny": 64,
    "gcvit_xxtiny": 0, "focalnet_tiny_srf": 64, "inception_next_atto": 64, "hiera_tiny_224": 0, "lambda_resnet26t": 64, "botnet26t_256": 0,
 "mobilevit_xxs": 64, "mobilevitv2_050": 64, "tnt_s_patch16_224": 0, "eca_nfnet_l0": 64, "resnest14d": 64,
    "dpn48b": 64, "starnet_s1": 64, "swiftformer_xs": 64, "shvit_s1": 64, "mambaout_femto": 64, "tf_mixnet_s": 64, "sequencer2d_s": 0,
 "rdnet_tiny": 64, "mixer_s32_224": 0, "regnetz_005": 64, "repghostnet_050": 64,
    "test_byobnet": 0, "test_convnext": 0, "test_convnext2": 0, "test_convnext3": 0, "test_efficientnet": 0, "test_efficientnet_gn": 0,
    "test_efficientnet_evos": 0, "test_mambaout": 0, "test_nfnet": 0, "test_resnet": 0, "test_vit": 0, "test_vit2": 0, "test_vit3": 0,
    "test_vit4": 0,
}
# The newer exporter takes minutes for large networks on a small machine.
DYNAMO = {
    "torchvision/resnet18", "torchvision/mobilenet_v3_small", "torchvision/swin_t", "torchvision/convnext_tiny", "torchvision/vit_b_32",
    "timm/hgnetv2_b0", "timm/convformer_s18", "timm/levit_128s", "timm/efficientvit_m0", "timm/tiny_vit_5m_224", "timm/efficientformer_l1",
    "timm/beit_base_patch16_224", "timm/cait_xxs24_224", "timm/xcit_nano_12_p16_224", "timm/edgenext_xx_small", "timm/botnet26t_256",
} | {f"timm/{name}" for name in TIMM if name.startswith("test_")}

# (network, pattern of the tensor) -> why it need not agree.
EXCEPTIONS = {
    ("timm/xcit_nano_12_p16_224", "permute_1"): "the position encoding, folded with its projection's weights: trained as the sum that it is",
    ("timm/edgenext_xx_small", "permute_12"): "the same",
}


def build(name, size):
    """The module in evaluation mode, all parameters and running statistics random, and its input."""
    import torch

    family, model = name.split("/")
    torch.manual_seed(1)
    if family == "torchvision":
        import torchvision

        kwargs = {"weights": None}
        if model in ("googlenet", "inception_v3"):
            kwargs.update(aux_logits=False, init_weights=False)
        if model == "vit_b_32":
            kwargs["image_size"] = size
        module = getattr(torchvision.models, model)(**kwargs)
    else:
        import timm

        module = None
        if size and any(part in model for part in ("vit_tiny", "beit", "deit", "cait", "xcit")):
            with contextlib.suppress(TypeError):
                module = timm.create_model(model, pretrained=False, img_size=size)
        if module is None:
            module = timm.create_model(model, pretrained=False)
        size = size or module.default_cfg["input_size"][-1]
    module.eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.1 + 0.2 * torch.rand(parameter.shape, generator=generator))
        for key, buffer in module.named_buffers():
            if buffer.is_floating_point() and key.endswith(("running_mean", "running_var")):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return module, torch.rand(1, 3, size, size, generator=generator)


def export(name, size, exporter, to):
    """Writes to.onnx and to.npz (the module's tensors as p:NAME and b:NAME); the reason when that is not possible."""
    import torch

    module, x = build(name, size)
    quiet = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            warnings.simplefilter("ignore")
            if exporter == "torchscript":
                torch.onnx.export(module, (x,), f"{to}.part", dynamo=False, opset_version=17, input_names=["x"], output_names=["y"],
                                  dynamic_axes={"x": {0: "N"}, "y": {0: "N"}})
            else:
                program = torch.onnx.export(module, (x,), dynamo=True, opset_version=18, input_names=["x"], output_names=["y"])
                program.save(f"{to}.part", external_data=False)
    except Exception as e:  # what an exporter cannot do is not what is tested here
        return f"{type(e).__name__}: {str(e).splitlines()[0][:100] if str(e) else ''}"
    tensors = {f"p:{k}": v.detach().numpy() for k, v in module.named_parameters()}
    tensors.update({f"b:{k}": v.detach().numpy() for k, v in module.named_buffers()})
    np.savez(f"{to}.npz", **tensors)
    (to.parent / f"{to.name}.part").rename(f"{to}.onnx")
    return None


class Owners:
    """Whose values are these? Finds the parameter or buffer that a tensor of the file was made from."""

    def __init__(self, tensors):
        self.named = {k[2:]: ("parameter" if k[0] == "p" else "buffer") for k in tensors.files}
        floats = {k: tensors[k] for k in tensors.files if tensors[k].dtype.kind == "f" and tensors[k].size}
        random = {k: v for k, v in floats.items() if k[0] == "p" or k.endswith(("running_mean", "running_var"))}
        self.keys = list(random)
        values = np.concatenate([v.ravel() for v in random.values()]) if random else np.zeros(0, np.float32)
        owner = np.repeat(np.arange(len(self.keys)), [random[k].size for k in self.keys])
        order = np.argsort(values, kind="stable")
        self.values, self.owner = values[order], owner[order]
        self.buffers = {k: np.unique(v.astype(np.float32)) for k, v in floats.items() if k not in random}

    def of(self, name, array):
        """("parameter" | "buffer" | "computed", name of the owner)."""
        if name in self.named:
            return self.named[name], name
        sample = array.ravel().astype(np.float32)
        sample = sample[:: max(1, sample.size // 64)]
        if sample.size >= 2 and self.values.size:
            at = np.clip(np.searchsorted(self.values, sample), 0, self.values.size - 1)
            hit = self.values[at] == sample
            if hit.mean() > 0.5:
                key = self.keys[np.bincount(self.owner[at[hit]]).argmax()]
                return ("parameter" if key[0] == "p" else "buffer"), key[2:]
        if sample.size >= 2:
            for key, known in self.buffers.items():
                if known.size > 1 and np.isin(sample, known).all():
                    return "buffer", key[2:]
        return "computed", ""


def compare(report, halftone, network, exporter, path):
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path.with_name(path.name + ".onnx"))).graph
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    literals = set()
    weights = set()  # in a slot that a folded batch norm ends up in
    for node in graph.node:
        if node.op_type == "Constant":
            for a in node.attribute:
                if a.name == "value":
                    arrays[node.output[0]] = numpy_helper.to_array(a.t)
                    literals.add(node.output[0])
        if node.op_type in ("Conv", "Gemm", "MatMul", "BatchNormalization"):
            weights.update(node.input[1:3])
    result = run(halftone, "inspect", path.with_name(path.name + ".onnx"), "--batch", 1, "--json", "--quiet")
    title = f"{network} ({exporter})"
    if result.code not in (0, 3) or not result.out.strip():
        report.check(False, f"{title}: {result.explain()}")
        return None
    roles = {r["name"]: r for r in json.loads(result.out.strip().splitlines()[-1])["roles"]}
    owners = Owners(np.load(f"{path}.npz"))
    wrong, waiting, counts = [], 0, {"parameter": 0, "buffer": 0, "computed": 0}
    reached = set()
    used = {name for node in graph.node for name in node.input}
    for name, array in arrays.items():
        if array.dtype.kind != "f" or name not in used:
            continue
        role = roles.get(name)
        kind, owner = owners.of(name, array)
        counts[kind] += 1
        if role is None:
            wrong.append(f"{name} is missing in the list")
            continue
        trained = role["role"] == "trained"
        held = role["role"] == "frozen" and "no gradient of" in role["reason"]
        waiting += held
        if kind == "parameter":
            reached.add(owner)
        should = kind == "parameter" or (kind == "computed" and name in weights and name not in literals and not (array == array.flat[0]).all())
        if should != (trained or held) and (network, owner or name) not in EXCEPTIONS and (kind != "computed" or array.size > 1):
            wrong.append(f"{name} {array.shape} of {kind} {owner}: {role['role']} ({role['reason']}, {role['node']})")
    text = f"{title}: {counts['parameter']} tensors of {len(reached)} parameters, {counts['buffer']} of buffers, {counts['computed']} computed or literal"
    if waiting:
        text += f"; {waiting} parameters wait for a gradient"
    report.check(not wrong, text + "".join(f"\n    {w}" for w in wrong[:8]) + (f"\n    and {len(wrong) - 8} more" if len(wrong) > 8 else ""))
    return counts


def main():
    a = arguments(__doc__, only=("", "part of the networks' names"), exporters=("torchscript,dynamo", "which of them"))
    try:
        import onnx  # noqa: F401
        import torch
        import torchvision  # noqa: F401
    except ImportError as e:
        leave_skipped(f"{e.name} is not installed")
    torch.set_num_threads(1)
    networks = {f"torchvision/{k}": v for k, v in TORCHVISION.items()}
    try:
        import timm  # noqa: F401

        networks.update({f"timm/{k}": v for k, v in TIMM.items()})
    except ImportError:
        print("SKIP timm is not installed: torchvision's networks alone", flush=True)
    report = Report()
    total = {}
    for network, size in networks.items():
        for exporter in a.exporters.split(","):
            if a.only not in network or (exporter == "dynamo" and network not in DYNAMO):
                continue
            path = a.work / f"{network.replace('/', '-')}.{exporter}"
            if not path.with_name(path.name + ".onnx").exists():
                reason = export(network, size, exporter, path)
                if reason:
                    report.skip(f"{network} ({exporter}): the exporter says {reason}")
                    continue
            for key, n in (compare(report, a.halftone, network, exporter, path) or {}).items():
                total[key] = total.get(key, 0) + n
    print(f"{total}")
    report.close()


if __name__ == "__main__":
    main()

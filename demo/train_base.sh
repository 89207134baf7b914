#!/usr/bin/env bash
# How demo/resnet8-fashion.onnx came to be: an untrained ResNet-8, trained by Halftone in fp32 on the first half of Fashion-MNIST's
# training set. Needs Python with numpy and onnx for the untrained network (PYTHON names another one).
#
#   demo/train_base.sh [OUT.onnx]     default: build/demo/base/model.onnx; copy it to demo/resnet8-fashion.onnx to replace it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
halftone=${BUILD:-build}/halftone
data=${FASHION_MNIST:-/usr/share/datasets/fashion-mnist}
work=${BUILD:-build}/demo
mkdir -p "$work"
"${PYTHON:-python3}" demo/make_resnet.py "$work/untrained.onnx"
rm -rf "$work/base"
"$halftone" train "$work/untrained.onnx" --data "${data}[train][:50%]" --val "${data}[test]" --normalize fashion-mnist --flip \
  --precision fp32 --epochs 8 --batch 128 --optimizer sgd --lr 0.05 --momentum 0.9 --weight-decay 5e-4 --schedule cosine --warmup 100 \
  --seed 1 --out "$work/base"
if (($# > 0)); then
  cp "$work/base/model.onnx" "$1"
fi

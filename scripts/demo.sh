#!/usr/bin/env bash
# Continues demo/resnet8-fashion.onnx, which Halftone trained in fp32 on the first half of Fashion-MNIST (demo/train_base.sh), on
# the second half: in fp32, bf16 and fp16, from one start and in one order of data.
#
#   scripts/demo.sh [BUILD]      (default: build)
#
# BUILD is brought up to date where it is configured. Otherwise the program is built in BUILD-demo, for this processor alone, which takes a third
# of the time (HALFTONE_QUICK).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${1:-build}
if [[ ! -f $build/build.ninja ]]; then
  build=$build-demo
  scripts/configure.sh "$build" -DCMAKE_BUILD_TYPE=Release -DHALFTONE_QUICK=ON -DHALFTONE_TESTS=OFF -DHALFTONE_BENCH=OFF
fi
cmake --build "$build" -j "${JOBS:-$(nproc)}" --target halftone
halftone=$build/halftone
out=$build/demo/compare
data=${FASHION_MNIST:-/usr/share/datasets/fashion-mnist}
if [[ ! -f $data/train-images-idx3-ubyte.gz ]]; then
  printf 'demo: %s has no train-images-idx3-ubyte.gz; it comes with the package dataset-fashion-mnist (make setup)\n' "$data" >&2
  exit 3
fi

printf '%s\n' \
  "A ResNet-8 that was trained in fp32 on 30 000 images of Fashion-MNIST goes on with the other 30 000, in fp32," \
  "bf16 and fp16: two epochs each, from one start, in one order of data. Accuracy is that of the 10 000 test images."
printf 'As it is:\n'
"$halftone" eval demo/resnet8-fashion.onnx --data "${data}[test]" --normalize fashion-mnist --precision fp32
printf 'Continued:\n'
rm -rf "$out"
"$halftone" compare demo/resnet8-fashion.onnx --data "${data}[train][50%:]" --val "${data}[test]" --normalize fashion-mnist \
  --flip --precisions fp32,bf16,fp16 --epochs 2 --batch 128 --lr 0.02 --momentum 0.9 --weight-decay 5e-4 --schedule cosine \
  --seed 1 --out "$out"
printf 'The networks are %s/*/model.onnx; any ONNX runtime opens them.\n' "$out"

#!/usr/bin/env bash
# A network with new classes, some of the old ones kept: the demo's ResNet-8, which knows the ten classes of Fashion-MNIST, learns five groups
# of clothes. Trouser, Dress and Bag are as before, and begin with their old rows; Top (T-shirt, Pullover, Coat, Shirt) and Shoe (Sandal,
# Sneaker, Ankle boot) are new. 2000 training images, one epoch, three seeds, fp32 and fp16, with and without --keep-classes.
#
#   examples/new_classes.sh [HALFTONE]      (default: build/halftone; the data: package dataset-fashion-mnist)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
halftone=${1:-build/halftone}
from=${FASHION_MNIST:-/usr/share/datasets/fashion-mnist}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The images as they are, the labels numbered anew: 0 Bag, 1 Dress, 2 Shoe, 3 Top, 4 Trouser.
#   0 T-shirt 1 Trouser 2 Pullover 3 Dress 4 Coat 5 Sandal 6 Shirt 7 Sneaker 8 Bag 9 Ankle boot
for split in train t10k; do
  ln -s "$from/$split-images-idx3-ubyte.gz" "$work/"
  zcat "$from/$split-labels-idx1-ubyte.gz" > "$work/labels"
  { head -c 8 "$work/labels"; tail -c +9 "$work/labels" | tr '\000-\011' '\003\004\003\001\003\002\003\002\000\002'; } \
    | gzip > "$work/$split-labels-idx1-ubyte.gz"
done
printf '%s\n' T-shirt Trouser Pullover Dress Coat Sandal Shirt Sneaker Bag 'Ankle boot' > "$work/old.txt"
printf '%s\n' Bag Dress Shoe Top Trouser > "$work/new.txt"

for head in "--new-head" "--new-head --keep-classes --old-classes-file $work/old.txt"; do
  for precision in fp32 fp16; do
    for seed in 1 2 3; do
      # shellcheck disable=SC2086  # several options
      accuracy=$("$halftone" train demo/resnet8-fashion.onnx --data "${work}[train][:2000]" --val "${work}[test]" \
        --normalize fashion-mnist $head --classes-file "$work/new.txt" --precision "$precision" --seed "$seed" \
        --epochs 1 --batch 50 --lr 0.005 --out "$work/run" --overwrite --quiet --json | tail -1 \
        | sed 's/.*"val_accuracy":\([0-9.]*\).*/\1/')
      printf '%-40s %s seed %s: accuracy %s\n' "${head%% --old*}" "$precision" "$seed" "$accuracy"
    done
  done
done

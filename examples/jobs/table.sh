#!/usr/bin/env bash
# A perceptron, trained in fp32 on half of 53,940 diamonds, goes on with the other half: the logarithm of the price from nine columns.
#
#   examples/jobs/table.sh [HALFTONE]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
if [[ ! -e base/model.onnx ]]; then
  "$halftone" train start.onnx --data 'diamonds.csv[:40%]' --val 'diamonds.csv[80%:]' --precision fp32 --epochs 5 --batch 64 --optimizer adamw --lr 1e-3 \
    --out base --overwrite --quiet
fi
side_by_side table base/model.onnx --data 'diamonds.csv[40%:80%]' --val 'diamonds.csv[80%:]' --epochs "${EPOCHS:-5}" --batch 64 --optimizer adamw --lr 1e-3 \
  --schedule cosine

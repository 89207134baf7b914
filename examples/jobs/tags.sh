#!/usr/bin/env bash
# all-MiniLM-L6-v2 learns to mark words: functions, classes, modules and other code in the prose of Python's manual. 5,500 paragraphs, 1,000 held out.
#
#   examples/jobs/tags.sh [HALFTONE]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
side_by_side tags model.onnx --data train.jsonl --val val.jsonl --max-tokens 128 --batch 32 --epochs "${EPOCHS:-1}" \
  --optimizer adamw --lr 1e-4 --warmup 20 --schedule linear

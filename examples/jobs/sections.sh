#!/usr/bin/env bash
# all-MiniLM-L6-v2 learns the section of a Debian package (20 of them) from its short description: 46,000 descriptions, 10 % held out.
#
#   examples/jobs/sections.sh [HALFTONE]
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
side_by_side sections model.onnx --data sections.csv --text description --label-column section --val 10% --batch 32 --steps "${STEPS:-400}" \
  --optimizer adamw --lr 1e-4 --warmup 40 --schedule linear

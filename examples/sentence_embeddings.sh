#!/usr/bin/env bash
# A sentence encoder on texts of its own: all-MiniLM-L6-v2 learns to find the long description of a Debian package by its short one. 1273 pairs, one
# epoch, 954 others to be found among each other, three seeds, fp32 and fp16.
#
#   python3 tests/long/_minilm.py minilm                  (once: the network and its tokenizer as files; needs torch and transformers)
#   examples/sentence_embeddings.sh minilm/minilm.onnx [HALFTONE]      (default: build/halftone)
#
# The descriptions are those of Debian's own lists: a copy of them with Translation-en is fetched by apt-get into a temporary folder.
#
# Seen (recall at 1 among 954; mean reciprocal rank after):
#   fp32  seeds 1, 2, 3: 0.8019 -> 0.8543, 0.8543, 0.8553; 0.8902, 0.8906, 0.8907
#   fp16  seed 1:        0.8008 -> 0.8543;                 0.8903
set -euo pipefail
model=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."
halftone=$(realpath "${2:-build/halftone}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir -p "$work/lists/partial"
lists=${DEBIAN_LISTS:-$work/lists}
[ "$lists" != "$work/lists" ] || apt-get -qq -o Dir::State::lists="$lists" -o Acquire::Languages=en update
# A package's short description, and the first paragraph of its long one; each text once.
/usr/lib/apt/apt-helper cat-file "$lists"/*_main_i18n_Translation-en* | awk '
  function cell(s) { gsub(/"/, "\"\"", s); return "\"" s "\"" }
  function done() {
    if (short != "" && length(long) >= 60 && !(short in seen) && !(long in seen)) {
      seen[short]; seen[long]
      print cell(short) "," cell(long)
    }
    short = long = ""; open = 0
  }
  /^Description-en: / { done(); short = substr($0, 17); open = 1; next }
  /^ \.$/ || /^  / { open = 0 }
  /^ / && open { long = long (long == "" ? "" : " ") substr($0, 2); next }
  /^$/ { done() }
  END { done() }' > "$work/all.csv"
{ echo short,long; awk 'NR % 8 == 0' "$work/all.csv" | awk 'NR % 5 != 0 && n++ % 3 == 0'; } > "$work/train.csv"
{ echo short,long; awk 'NR % 8 == 0' "$work/all.csv" | awk 'NR % 5 == 0'; } > "$work/val.csv"

figure() { sed 's/.*"'"$1"'":\([0-9.]*\).*/\1/'; }
for precision in fp32 fp16; do
  for seed in 1 2 3; do
    "$halftone" train "$model" --data "$work/train.csv" --val "$work/val.csv" --task embeddings --text short,long --pooling mean \
      --max-tokens 32 --batch 64 --epochs 1 --optimizer adamw --lr 2e-5 --warmup 4 --precision "$precision" --seed "$seed" \
      --out "$work/run" --overwrite --quiet --json | tail -1 > "$work/summary"
    printf '%s seed %s: recall@1 %s -> %s, mean reciprocal rank %s, %s s\n' "$precision" "$seed" "$(figure recall-at-1 < "$work/summary")" \
      "$(figure recall_at_1 < "$work/summary")" "$(sed 's/"before":{[^}]*}//' "$work/summary" | figure mrr)" "$(figure seconds < "$work/summary")"
  done
done

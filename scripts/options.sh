#!/usr/bin/env bash
# Writes docs/options.md, every command's --help as the program prints it. tests/e2e fails where the page is out of date.
#
#   scripts/options.sh [HALFTONE]      (default: build/halftone)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=${1:-build/halftone}
page=$(mktemp)
trap 'rm -f "$page"' EXIT
{
  printf '# Options\n\nWhat `halftone COMMAND --help` prints; made by `scripts/options.sh`. The usual ones are in the [README](../README.md).\n'
  for command in train compare inspect export eval predict info run gradients tokenize completion manual; do
    # shellcheck disable=SC2016  # Markdown's backquotes
    printf '\n## %s\n\n```text\n' "$command"
    "$program" "$command" --help
    printf '```\n'
  done
} >"$page"
cp "$page" docs/options.md

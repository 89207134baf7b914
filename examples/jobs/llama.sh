#!/usr/bin/env bash
# A small Llama (rotary embedding, grouped heads) goes on with other texts (language.sh).
#
#   examples/jobs/llama.sh [HALFTONE]
source "$(dirname "${BASH_SOURCE[0]}")/language.sh"

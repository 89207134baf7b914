#!/usr/bin/env bash
# A small GPT-2 goes on with other texts (language.sh).
#
#   examples/jobs/gpt2.sh [HALFTONE]
source "$(dirname "${BASH_SOURCE[0]}")/language.sh"

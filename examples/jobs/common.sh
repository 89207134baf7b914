# For the jobs beside this file: `halftone` is the program (first argument, default build/halftone), `work` the folder of this job's files,
# which stay there: JOBS_FOLDER (default /tmp/halftone-jobs), so that a second run has the networks and data already.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
halftone=$(realpath "${1:-$here/../../build/halftone}")
job=$(basename "$0" .sh)
work=${JOBS_FOLDER:-/tmp/halftone-jobs}/$job
python=${PYTHON:-python3}
seeds=${SEEDS:-3}
if [[ ! -e $work/prepared ]]; then
  "$python" "$here/prepare.py" "$job" "$work"
  touch "$work/prepared"
fi
cd "$work"
# Precisions side by side from the same start in the same order of samples, `seeds` times: accuracy with intervals, speed, memory.
side_by_side() {
  local name=$1
  shift
  printf '\n%s: halftone compare %s\n' "$name" "$*"
  "$halftone" compare "$@" --seeds "$seeds" --precisions fp32,bf16,fp16 --out "runs-$name" --overwrite --quiet
}

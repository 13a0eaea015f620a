#!/usr/bin/env bash
# Checks folders of photos with a Slurm job array: each task judges one shard into a file of its own.
#
#   sbatch --array=1-16 --cpus-per-task=8 --time=4:00:00 --requeue --signal=B:TERM@60 tools/bulk/slurm-array.sh OUT PHOTOS... [OPTIONS]
#
# Options are those of `grnet detect`. A task that was stopped, killed or put back into the queue goes on where it was. Together the
# files are what one run would give:  cat OUT/*.jsonl > results.jsonl
# grnet is looked for in PATH, or named by the variable GRNET.
set -euo pipefail

((${#} >= 2)) || { echo "usage: $0 OUT PHOTOS... [OPTIONS OF grnet detect]" >&2; exit 2; }
: "${SLURM_ARRAY_TASK_ID:?is set by sbatch --array}" "${SLURM_ARRAY_TASK_COUNT:?is set by sbatch --array}"
out=$1
shift
shard=$((SLURM_ARRAY_TASK_ID - ${SLURM_ARRAY_TASK_MIN:-1} + 1))
mkdir -p "$out"
# exec: the signal that Slurm sends before the time is up reaches grnet itself, which then ends after a whole line.
exec "${GRNET:-grnet}" detect "$@" --shard "$shard/$SLURM_ARRAY_TASK_COUNT" --resume \
  --out "$out/$(printf '%05d' "$shard")-of-$(printf '%05d' "$SLURM_ARRAY_TASK_COUNT").jsonl"

#!/usr/bin/env python3
"""Checks folders of photos with the workers of Ray: each shard is one `grnet detect`, the results are one file.

    pip install ray
    tools/bulk/ray_bulk.py PHOTOS... --out results.jsonl [--shards 16] [--cpus 4] [-- OPTIONS OF grnet detect]

Works on one machine, or on a cluster (`ray start` on each, then --address auto) whose machines see the photos, grnet and the folder
of the results under the same paths. Called again after a stop it goes on: a shard that is whole costs a look through it, and one
that died is tried again here as often as --tries says. Nothing of a photo travels through Ray, only how a shard came out.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import time

import ray

# Exit codes of `grnet detect --out`: every file is in the results, some of them as unreadable or damaged.
DONE, SOME_UNREAD = 0, 1
TOLD_LINES = 20
PAUSE_S = 3


def check(command, number, shards, part):
    """Judges one shard into its own file; the exit code, and the end of what grnet said."""
    ended = subprocess.run(
        [*command, "--shard", f"{number}/{shards}", "--resume", "--out", part],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace",
    )
    return number, ended.returncode, "\n".join(ended.stderr.splitlines()[-TOLD_LINES:])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", help="photos and folders, as for grnet detect")
    parser.add_argument("--out", required=True, type=pathlib.Path, help="the results, *.jsonl; the shards stay beside it in OUT.parts")
    parser.add_argument("--shards", type=int, help="how many [default: four for each worker that fits]")
    parser.add_argument("--cpus", type=int, default=1, help="cores of one shard [default: 1]")
    parser.add_argument("--tries", type=int, default=3, help="how often a shard that dies is started [default: 3]")
    parser.add_argument("--address", help="of a Ray cluster; without it one is started on this machine")
    parser.add_argument("--grnet", default=os.environ.get("GRNET", "grnet"), help="the program [default: $GRNET, or grnet]")
    own, options = sys.argv[1:], []
    if "--" in own:
        options = own[own.index("--") + 1:]
        own = own[:own.index("--")]
    return parser.parse_args(own), options


def main():
    args, options = arguments()
    grnet = shutil.which(args.grnet)
    if grnet is None:
        sys.exit(f"expected grnet, found no {args.grnet}; name it with --grnet")
    ray.init(address=args.address, log_to_driver=False, logging_level="warning", include_dashboard=False)
    shards = args.shards or max(1, 4 * int(ray.cluster_resources().get("CPU", 1)) // args.cpus)
    parts = args.out.with_name(args.out.name + ".parts").resolve()
    # A shard's number says nothing without their count.
    folder = parts / f"of-{shards}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [os.path.abspath(path) for path in args.paths]
    command = [grnet, "detect", *paths, *options, "--threads", str(args.cpus)]
    worker = ray.remote(num_cpus=args.cpus, max_retries=args.tries)(check)
    part = lambda number: str(folder / f"{number:05}.jsonl")
    waiting = [worker.remote(command, number, shards, part(number)) for number in range(1, shards + 1)]
    tries, failed, unread = dict.fromkeys(range(1, shards + 1), 1), [], False
    while waiting:
        [ended, *_], waiting = ray.wait(waiting, num_returns=1)
        number, code, told = ray.get(ended)
        finished = len(tries) - len(waiting)
        if code in (DONE, SOME_UNREAD):
            unread = unread or code == SOME_UNREAD
            print(f"shard {number}: done, {finished} of {shards}", file=sys.stderr)
        elif tries[number] < args.tries:
            tries[number] += 1
            print(f"shard {number}: ended with code {code}, tried again\n{told}", file=sys.stderr)
            # The lock of a process that is being ended may live a little longer.
            time.sleep(PAUSE_S)
            waiting.append(worker.remote(command, number, shards, part(number)))
        else:
            failed.append(number)
            print(f"shard {number}: ended with code {code}\n{told}", file=sys.stderr)
    if failed:
        sys.exit(f"{len(failed)} of {shards} shards are not done: {failed}; the same command goes on with them")
    # Aside first, so that there never is half a file.
    aside = args.out.with_name(f".{args.out.name}-{os.getpid()}.part")
    with aside.open("wb") as whole:
        for number in range(1, shards + 1):
            with open(part(number), "rb") as lines:
                shutil.copyfileobj(lines, whole)
    os.replace(aside, args.out)
    sys.exit(SOME_UNREAD if unread else DONE)


if __name__ == "__main__":
    main()

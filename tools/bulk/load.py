#!/usr/bin/env python3
"""Runs a command, samples its memory, and draws it over time as an SVG; says how steep it is.

    tools/bulk/load.py --svg memory.svg [--every 0.5] [--reports results.jsonl] -- grnet detect photos --out results.jsonl
    tools/bulk/load.py --svg memory.svg --samples memory.csv [--reports results.jsonl]

The second form draws samples that were taken elsewhere, as browser_load.mjs does: a column `seconds`, then one of MiB for
each kind of process. Of --reports, if given, it says how many came a second and where their time went, as the reports themselves
tell. Linux only.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT, LINE = 720, 280, 56, 36, 28, 16, 14
COLOURS = ["#1668b0", "#c2571a", "#3d7a33", "#7a3d8f"]
# The first part of a run, in which buffers grow to their sizes, says nothing of whether it goes on growing.
WARM_UP_SHARE = 0.2


def sample(pid):
    """Resident memory in MiB and its maximum so far; nothing once the process has ended."""
    try:
        with open(f"/proc/{pid}/status") as status:
            kib = {key: value.split()[0] for key, value in (line.split(":", 1) for line in status) if key in ("VmRSS", "VmHWM")}
        return int(kib["VmRSS"]) / 1024, int(kib["VmHWM"]) / 1024
    except (OSError, KeyError):
        return None


def watch(command, every):
    """The samples (seconds, MiB), the peak, the processor seconds and the exit code."""
    begun = time.monotonic()
    process = subprocess.Popen(command)
    samples, peak = [], 0.0
    while process.poll() is None:
        found = sample(process.pid)
        if found:
            samples.append((time.monotonic() - begun, found[0]))
            peak = found[1]
        time.sleep(every)
    used = os.times()
    return samples, peak, used.children_user + used.children_system, time.monotonic() - begun, process.returncode


def slope(samples):
    """MiB an hour by least squares after the warm-up, and the standard deviation of what is left."""
    late = samples[int(len(samples) * WARM_UP_SHARE):]
    if len(late) < 3:
        return None
    mean_t = sum(t for t, _ in late) / len(late)
    mean_m = sum(m for _, m in late) / len(late)
    steep = sum((t - mean_t) * (m - mean_m) for t, m in late) / sum((t - mean_t) ** 2 for t, _ in late)
    rest = [m - mean_m - steep * (t - mean_t) for t, m in late]
    return steep * 3600, (sum(r * r for r in rest) / len(rest)) ** 0.5


def in_words(samples):
    found = slope(samples)
    return "too few samples for a slope" if found is None else f"slope {found[0]:+.1f} MiB an hour, scatter {found[1]:.1f} MiB"


def svg(series, title):
    """One line for each of the series (name, samples); the names stand below the title where there are several."""
    named = [name for name, _ in series if name]
    top_px = TOP + LINE * len(named)
    end, top = series[0][1][-1][0] or 1, max(m for _, samples in series for _, m in samples) * 1.15
    height = HEIGHT + LINE * len(named)
    x = lambda t: LEFT + (WIDTH - LEFT - RIGHT) * t / end
    y = lambda m: height - BOTTOM - (height - BOTTOM - top_px) * m / top
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="16" font-size="13">{title}</text>',
    ]
    for part in range(5):
        mib, seconds = top * part / 4, end * part / 4
        lines.append(f'<path d="M{LEFT} {y(mib):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 6}" y="{y(mib) + 4:.1f}" text-anchor="end">{mib:.0f}</text>')
        lines.append(f'<text x="{x(seconds):.1f}" y="{height - 18}" text-anchor="middle">{seconds:.0f}</text>')
    for at, (name, samples) in enumerate(series):
        colour = COLOURS[at % len(COLOURS)]
        if name:
            lines.append(f'<text x="{LEFT}" y="{16 + LINE * (at + 1)}" fill="{colour}">{name}: {in_words(samples)}</text>')
        # No more points than pixels.
        step = max(1, len(samples) // (WIDTH - LEFT - RIGHT))
        points = " ".join(f"{x(t):.1f},{y(m):.1f}" for t, m in samples[::step])
        lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    lines += [
        f'<text x="{(WIDTH + LEFT) / 2}" y="{height - 4}" text-anchor="middle">seconds</text>',
        f'<text x="6" y="{top_px - 8}">MiB</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def read_samples(path):
    """The series of a table, and how long it goes on."""
    with open(path, encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    if len(rows) < 2:
        sys.exit(f"too short to be drawn: {len(rows)} samples in {path}")
    names = [name for name in rows[0] if name != "seconds"]
    series = [(name, [(float(row["seconds"]), float(row[name])) for row in rows]) for name in names]
    return series, float(rows[-1]["seconds"])


def stages(path):
    """How many reports there are and the milliseconds of each stage, summed."""
    total, count = {}, 0
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            count += 1
            for stage, ms in json.loads(line)["timings_ms"].items():
                total[stage] = total.get(stage, 0) + ms
    return count, total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--svg", required=True, help="the plot")
    parser.add_argument("--every", type=float, default=0.5, help="seconds between samples [default: 0.5]")
    parser.add_argument("--reports", help="the reports that the command writes")
    parser.add_argument("--samples", help="a table of samples to be drawn, in place of a command")
    parser.add_argument("command", nargs="*")
    args = parser.parse_args()
    if bool(args.samples) == bool(args.command):
        parser.error("expected a command or --samples, one of them")
    code = 0
    if args.samples:
        series, wall = read_samples(args.samples)
        for name, samples in series:
            print(f"{name}: peak {max(m for _, m in samples):.0f} MiB, {in_words(samples)}")
        title = "Memory"
    else:
        samples, peak, used, wall, code = watch(args.command, args.every)
        if len(samples) < 2:
            sys.exit(f"too short to be drawn: {len(samples)} samples, exit code {code}")
        print(f"{wall:.1f} s, processor {used:.1f} s ({used / wall:.2f} cores), peak {peak:.0f} MiB, {in_words(samples)}, exit code {code}")
        series, title = [("", samples)], "Resident memory"
    if args.reports:
        count, total = stages(args.reports)
        parts = ", ".join(f"{stage.removesuffix('_ms')} {ms / count:.1f}" for stage, ms in total.items())
        print(f"{count} reports, {count / wall:.1f} a second; milliseconds a photo: {parts}")
        title += f", {count} photos"
    if not args.samples:
        title += f": {in_words(series[0][1])}"
    with open(args.svg, "w", encoding="utf-8") as plot:
        plot.write(svg(series, title))
    sys.exit(code)


if __name__ == "__main__":
    main()

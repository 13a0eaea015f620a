#!/usr/bin/env python3
"""Time and memory that `grnet detect` takes for hostile files, against those for the largest pictures that it accepts.

    tools/bulk/hostile.py [--grnet target/release/grnet] [--cases ../shared/cases] [--seconds 2] [--mb 400]

Makes the files, runs the program on each alone, and prints a table in Markdown; fails where a file takes so much more than the
largest accepted picture does. Files of --cases are measured too, where that folder is there. Linux only.
"""

import argparse
import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PORTRAIT = os.path.join(ROOT, "tests/pictures/astronaut.jpg")
MAX_PIXELS = 400_000_000  # Limits::default in src/picture/decode.rs


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def grey_jpeg(height, width, sof=0xC0, pixels=True):
    """Two bits a block: of the one code of each table, "the same" and "no more"."""
    codes = lambda table: segment(0xC4, bytes([table, 1] + [0] * 16))
    frame = segment(sof, struct.pack(">BHHB", 8, height, width, 3) + bytes([1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]))
    scan = segment(0xDA, bytes([3, 1, 0, 2, 0, 3, 0, 0, 0 if sof == 0xC2 else 63, 0]))
    head = b"\xff\xd8" + segment(0xDB, b"\0" + b"\1" * 64) + frame + codes(0) + codes(0x10) + scan
    blocks = -(-height // 8) * -(-width // 8) * 3 if pixels else 0
    return head + bytes(-(-blocks * 2 // 8)) + b"\xff\xd9"


def chunk(kind, body, length=None):
    stated = len(body) if length is None else length
    return struct.pack(">I", stated) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deflated(count, byte=b"\0"):
    packer, out = zlib.compressobj(9), []
    block = byte * (1 << 20)
    while count > 0:
        out.append(packer.compress(block[: min(count, len(block))]))
        count -= len(block)
    return b"".join(out) + packer.flush()


def png(height, width, extra=b"", pixels=True):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    rows = height * (1 + 3 * width) if pixels else 1000
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", deflated(rows)) + chunk(b"IEND", b"")


def portrait(extra=b""):
    with open(PORTRAIT, "rb") as file:
        bytes_ = file.read()
    return bytes_[:2] + extra + bytes_[2:]


def xmp(body):
    """Packets in as many segments as it takes are not read together: one of at most 64 KB."""
    packet = f'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description {body}'
    return segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet.encode()[:65000])


def exif_inside_each_other():
    """Directories of which each names itself, its neighbours and the next."""
    count = 5000
    body = struct.pack("<H", count)
    for index in range(count):
        body += struct.pack("<HHII", 0x8769 if index % 2 else 0x014A, 4, 1, 8 + 12 * (index % 100))
    return segment(0xE1, (b"Exif\0\0" + b"II*\0\x08\0\0\0" + body + b"\0\0\0\0")[:65000])


def gif(height, width, frames):
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0" + b"\x02\x02\x44\x01\x00"
    return head + frame * frames + b";"


def bmp(height, width):
    return b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(900)


def webp(height, width):
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body += b"VP8L" + struct.pack("<I", 100) + b"\x2f" + bytes(99)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def accepted():
    side = int(MAX_PIXELS**0.5) // 8 * 8
    yield "JPEG of 400 megapixels", grey_jpeg(side, side)
    yield "PNG of 400 megapixels", png(side, side)
    yield "JPEG of 52 megapixels", grey_jpeg(7208, 7208)


def hostile():
    whole = portrait()
    yield "text that is called a picture", b"no picture" * 100
    yield "JPEG cut in the middle", whole[: len(whole) // 2]
    yield "JPEG that states 3,600 megapixels", grey_jpeg(60000, 60000, pixels=False)
    yield "JPEG of 3,600 megapixels", grey_jpeg(60000, 60000)
    yield "progressive JPEG of 390 megapixels", grey_jpeg(19800, 19800, sof=0xC2)
    yield "JPEG one pixel high", grey_jpeg(1, 65500)
    yield "JPEG of 60 megapixels without pixels", grey_jpeg(7800, 7800, pixels=False)
    yield "PNG that states 3,600 megapixels", png(60000, 60000, pixels=False)
    yield "PNG of 390 megapixels, cut", png(19800, 19800)[:200_000]
    yield "PNG chunk that states 4 GB", png(64, 64, chunk(b"tEXt", b"x" * 100, length=0xFFFFFFF4))
    yield "PNG text of 1 GB from 1 MB", png(64, 64, chunk(b"zTXt", b"parameters\0\0" + deflated(1 << 30, b" ")))
    text = chunk(b"zTXt", b"parameters\0\0" + deflated(1 << 20, b" "))
    yield "PNG of 5,000 texts of a megabyte", png(64, 64, text * 5000)
    profile = chunk(b"iCCP", b"icc\0\0" + deflated(1 << 30))
    yield "PNG with a colour profile of 1 GB", png(64, 64, profile)
    yield "XMP of nested namespaces", portrait(xmp("/>" + "".join(f'<n{i}:a xmlns:n{i}="u">' for i in range(3000))))
    yield "XMP of one element with 9,000 attributes", portrait(xmp(" ".join(f'a{i}=""' for i in range(9000))))
    yield "EXIF directories inside each other", portrait(exif_inside_each_other())
    yield "GIF that states 65,535 x 65,535", gif(65535, 65535, 1)
    yield "GIF of 500,000 frames", gif(64, 64, 500_000)
    yield "BMP that states 2^31 pixels a side", bmp(2**31 - 1, 2**31 - 1)
    yield "WebP that states 16,384 x 16,384", webp(16384, 16384)
    yield "200 MB of zeros after the end", whole + bytes(200 << 20)


def measure(command):
    """Seconds, peak in MB (10^6 bytes), exit code."""
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    return time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6, os.waitstatus_to_exitcode(status)


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--grnet", default=os.path.join(ROOT, "target/release/grnet"))
    options.add_argument("--cases", default=os.path.join(ROOT, "../shared/cases"))
    options.add_argument("--seconds", type=float, default=2)
    options.add_argument("--mb", type=float, default=400)
    options = options.parse_args()
    files = [("accepted", *file) for file in accepted()] + [("hostile", *file) for file in hostile()]
    if os.path.isdir(options.cases):
        for name in sorted(os.listdir(options.cases)):
            if not name.endswith(".md"):
                with open(os.path.join(options.cases, name), "rb") as file:
                    files.append(("case", f"`{name}`", file.read()))
    else:
        print(f"skipped: the files of {options.cases}, which is not there", file=sys.stderr)

    print("| file | size | seconds | processor | peak |\n|---|---|---|---|---|")
    most, over = [0.0, 0.0], []
    with tempfile.TemporaryDirectory() as folder:
        for kind, name, bytes_ in files:
            path = os.path.join(folder, "file")
            with open(path, "wb") as file:
                file.write(bytes_)
            seconds, processor, mb, code = measure([options.grnet, "detect", "--json", "--device", "cpu", "--threads", "1", path])
            os.remove(path)
            print(f"| {name} | {len(bytes_) / 1e6:.1f} MB | {seconds:.1f} | {processor:.1f} | {mb:.0f} MB |", flush=True)
            if code < 0 or code > 3 or (kind == "accepted" and code != 0):
                over.append(f"{name}: exit code {code}")
            if kind == "accepted":
                most = [max(most[0], processor), max(most[1], mb)]
            # Of time that of the processor counts: others may be at work on it.
            elif processor > most[0] + options.seconds or mb > most[1] + options.mb:
                over.append(f"{name}: {processor:.1f} s and {mb:.0f} MB, the largest accepted picture {most[0]:.1f} s and {most[1]:.0f} MB")
    for line in over:
        print(line, file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())

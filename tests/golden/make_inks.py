"""Writes inks-8.jpg and inks-16.jpg beside itself: pictures of C M Y K with profiles whose tables have 8 and 16 bits, and, as
PNG, the sRGB that Little CMS makes of them. Needs Pillow with Little CMS (made with 13.0.0 and 2.19) and numpy.

The profiles are made here: inks that stain more than they say, on paper of their own white, with curves before and behind the
table that change something. The colours are those of no press.
"""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

NODES = 6
SIDE = 48
HERE = Path(__file__).resolve().parent


def lab(inks):
    """Lab, with L 0..100, of inks 0..1: each takes its part of the light."""
    c, m, y, k = np.moveaxis(inks, -1, 0)
    stain = np.array([[0.02, 0.45, 0.75], [0.70, 0.05, 0.30], [0.85, 0.75, 0.08], [0.03, 0.03, 0.03]])
    linear = np.ones((*c.shape, 3))
    for ink, colour in zip((c, m, y, k), stain):
        linear *= 1 - ink[..., None] * (1 - colour)
    # Linear sRGB under D50 -> Lab.
    to_xyz = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
    share = linear @ to_xyz.T / np.array([0.9642, 1.0, 0.8249])
    f = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def profile(bits):
    """An ICC profile with one table, from inks to Lab."""
    most = 2**bits - 1
    white = 100 / 65280 * 65535 if bits == 16 else 100  # of L, where all bits are set
    whole = 65535 / 256 if bits == 16 else 255  # of a and b
    points = [256, 256] if bits == 8 else [40, 3]
    before = np.linspace(0, 1, points[0]) ** 0.8
    behind = np.linspace(0, 1, points[1]) + (0.04 * np.sin(np.linspace(0, np.pi, points[1])))
    # The table holds what its curves will make right again.
    axis = np.linspace(0, 1, NODES) ** (1 / 0.8)
    colours = lab(np.stack(np.meshgrid(axis, axis, axis, axis, indexing="ij"), -1)).reshape(-1, 3)
    encoded = np.stack([colours[:, 0] / white, (colours[:, 1] + 128) / whole, (colours[:, 2] + 128) / whole], -1)
    encoded = np.interp(encoded, behind, np.linspace(0, 1, points[1]))
    kind = ">u2" if bits == 16 else "u1"
    numbers = lambda values: np.round(np.clip(values, 0, 1) * most).astype(kind).tobytes()
    table = (b"mft2" if bits == 16 else b"mft1") + struct.pack(">IBBBx", 0, 4, 3, NODES)
    table += struct.pack(">9i", *(np.eye(3) * 65536).astype(int).ravel())
    if bits == 16:
        table += struct.pack(">HH", *points)
    table += numbers(before) * 4 + numbers(encoded) + numbers(behind) * 3
    header = struct.pack(">I4xI4s4s4s", 0, 0x02400000, b"prtr", b"CMYK", b"Lab ") + struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
    header += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    header = header.ljust(128, b"\0")
    data = header + struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table
    return struct.pack(">I", len(data)) + data[4:]


def picture():
    """Ramps of the inks over one another."""
    at = np.linspace(0, 1, SIDE)
    across, down = np.meshgrid(at, at)
    inks = [across, down, 0.5 + 0.5 * np.sin(3 * across + 2 * down), 0.6 * across * down]
    return Image.fromarray(np.round(255 * np.stack(inks, -1)).astype("u1"), "CMYK")


def main():
    srgb = ImageCms.createProfile("sRGB")
    for bits in (8, 16):
        icc = profile(bits)
        path = HERE / f"inks-{bits}.jpg"
        picture().save(path, quality=95, subsampling=0, icc_profile=icc)
        read = Image.open(path)
        assert read.info["icc_profile"] == icc
        made = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        ImageCms.profileToProfile(read, made, srgb, renderingIntent=0, outputMode="RGB").save(path.with_suffix(".png"))


if __name__ == "__main__":
    main()

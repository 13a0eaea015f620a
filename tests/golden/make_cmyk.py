"""Writes cmyk.jpg and ycck.jpg beside itself: four flat quarters in the two four-channel forms of JPEG, which the crates
used in the tests cannot write. Needs Pillow (made with 13.0.0); the files depend on no random number.

Quarters, row by row: red (220, 40, 30), green (30, 160, 60); blue (40, 60, 200), grey (128, 128, 128).
"""

from pathlib import Path

from PIL import Image

SIDE = 32
COLOURS = [(220, 40, 30), (30, 160, 60), (40, 60, 200), (128, 128, 128)]
HERE = Path(__file__).resolve().parent


def quarters(pixel):
    """A CMYK picture whose quarters are pixel(colour)."""
    picture = Image.new("CMYK", (SIDE, SIDE))
    half = SIDE // 2
    for index, colour in enumerate(COLOURS):
        x, y = index % 2 * half, index // 2 * half
        picture.paste(pixel(colour), (x, y, x + half, y + half))
    return picture


def cmyk(colour):
    """All black that the colour allows in K, so that K matters."""
    black = 255 - max(colour)
    if black == 255:
        return (0, 0, 0, 255)
    # RGB = (255 - C) (255 - K) / 255
    ink = [round(255 - 255 * channel / (255 - black)) for channel in colour]
    return (*ink, black)


def ycck(colour):
    """YCCK is YCbCr of C, M, Y taken for R, G, B, with the inverted K beside it. Pillow inverts all that it writes."""
    c, m, y, k = cmyk(colour)
    luma = 0.299 * c + 0.587 * m + 0.114 * y
    chroma_blue = 128 + 0.564 * (y - luma)
    chroma_red = 128 + 0.713 * (c - luma)
    return (*(255 - min(255, max(0, round(value))) for value in (luma, chroma_blue, chroma_red)), k)


def main():
    quarters(cmyk).save(HERE / "cmyk.jpg", quality=95, subsampling=0)
    quarters(ycck).save(HERE / "ycck.jpg", quality=95, subsampling=0)
    data = bytearray((HERE / "ycck.jpg").read_bytes())
    # The last byte of the Adobe segment says how the channels are stored: 0 as they are, 2 as YCCK.
    adobe = data.index(b"Adobe")
    assert data[adobe + 11] == 0, data[adobe : adobe + 12]
    data[adobe + 11] = 2
    (HERE / "ycck.jpg").write_bytes(data)


if __name__ == "__main__":
    main()

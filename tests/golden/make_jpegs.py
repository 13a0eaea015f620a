"""Writes the folder `jpeg` beside itself: a small picture as JPEG in every sampling and every order of scans, and for each sampling
what libjpeg makes of it, as PNG. The pixels do not depend on the order of scans: the script checks that.

Needs Pillow (made with 13.0.0, libjpeg-turbo 3.2.0) and `cjpeg` of libjpeg-turbo (made with 2.1.5), which knows the samplings that
Pillow does not write. Two files of kinds that are not read, 12 bits and arithmetic coding, are written too where cjpeg can.
"""

import io
import subprocess
from pathlib import Path

from PIL import Image, ImageChops

HERE = Path(__file__).resolve().parent / "jpeg"
WIDTH, HEIGHT = 35, 29
SAMPLINGS = {
    "444": "1x1,1x1,1x1",
    "422": "2x1,1x1,1x1",
    "420": "2x2,1x1,1x1",
    "440": "1x2,1x1,1x1",
    "411": "4x1,1x1,1x1",
    "410": "4x2,1x1,1x1",
    "441": "1x4,1x1,1x1",
    "311": "3x1,1x1,1x1",
    "fine_chroma_across": "1x1,2x1,2x1",
    "fine_chroma_down": "1x1,1x2,1x2",
    "fine_chroma": "1x1,2x2,2x2",
    "mixed": "2x2,2x1,1x2",
}
SCANS = {
    "one": [],
    "apart": ["0;", "1;", "2;"],
    "chroma_together": ["0;", "1 2;"],
    "backwards": ["2;", "0;", "1;"],
    "progressive": ["-progressive"],
    "spectral": ["0 1 2: 0-0,0,0;", "0: 1-63,0,0;", "1: 1-63,0,0;", "2: 1-63,0,0;"],
    "fine_steps": [
        *["0: 0-0,0,1;", "1: 0-0,0,0;", "2: 0-0,0,0;", "0: 1-5,0,2;", "0: 6-63,0,2;", "0: 1-63,2,1;", "0: 0-0,1,0;"],
        *["0: 1-63,1,0;", "1: 1-63,0,1;", "2: 1-63,0,1;", "1: 1-63,1,0;", "2: 1-63,1,0;"],
    ],
    "restarts": ["-restart", "1B"],
}


def picture():
    """Ramps, an edge and a little texture, all of whole numbers."""
    image = Image.new("RGB", (WIDTH, HEIGHT))
    for y in range(HEIGHT):
        for x in range(WIDTH):
            rough = (x * x * 7 + y * 13 + x * y * 5) % 23
            inside = 8 <= x < 20 and 6 <= y < 17
            image.putpixel((x, y), (220 - rough, 40, 50) if inside else (x * 6 + rough, y * 8, (x + y) * 3 + rough))
    return image


def cjpeg(ppm, *options):
    return subprocess.run(["cjpeg", *options], input=ppm, stdout=subprocess.PIPE, check=True).stdout


def main():
    HERE.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    picture().save(buffer, "PPM")
    ppm = buffer.getvalue()
    script = HERE / "scans.txt"
    for sampling, factors in SAMPLINGS.items():
        pixels = None
        for name, scans in SCANS.items():
            options = scans if scans and scans[0].startswith("-") else []
            if scans and not options:
                script.write_text("\n".join(scans))
                options = ["-scans", str(script)]
            data = cjpeg(ppm, "-quality", "85", "-sample", factors, *options)
            (HERE / f"{sampling}-{name}.jpg").write_bytes(data)
            read = Image.open(io.BytesIO(data)).convert("RGB")
            assert pixels is None or ImageChops.difference(pixels, read).getbbox() is None, (sampling, name)
            pixels = read
        pixels.save(HERE / f"{sampling}.png", optimize=True)
    script.unlink()
    (HERE / "arithmetic.jpg").write_bytes(cjpeg(ppm, "-arithmetic"))


if __name__ == "__main__":
    main()

"""Writes tests/golden/avif: the face of tests/pictures/astronaut.jpg as AVIF, and as libavif decodes it (lossless WebP), for the
page's tests with the browser's decoder. Pillow 13.0.0 with libavif 1.4.2, opencv-python-headless 5.0.0 for 10 bits a colour.

    python tests/golden/make_avifs.py
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

HERE = Path(__file__).parent
OUT = HERE / "avif"
OUT.mkdir(exist_ok=True)
face = Image.open(HERE.parent / "pictures/astronaut.jpg").convert("RGB").crop((128, 16, 344, 232))


def decoded(name):
    picture = ImageOps.exif_transpose(Image.open(OUT / f"{name}.avif")).convert("RGB")
    picture.save(OUT / f"{name}.webp", lossless=True, exact=True)


# As most sites send them.
face.save(OUT / "face.avif", quality=80, subsampling="4:2:0")
decoded("face")

# Stored lying on its side, with the property that turns it.
lying = Image.Exif()
lying[0x112] = 6
face.transpose(Image.Transpose.ROTATE_90).save(OUT / "turned.avif", quality=80, subsampling="4:4:4", exif=lying.tobytes())
decoded("turned")

# 10 bits a colour, which browsers bring to 8 in ways of their own.
deep = np.asarray(face)[..., ::-1].astype(np.uint32) * 1023 // 255
options = [cv2.IMWRITE_AVIF_QUALITY, 80, cv2.IMWRITE_AVIF_DEPTH, 10]
(OUT / "deep.avif").write_bytes(cv2.imencode(".avif", deep.astype(np.uint16), options)[1].tobytes())

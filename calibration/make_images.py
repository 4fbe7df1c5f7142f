#!/usr/bin/env python3
"""Makes calibration/images: the pictures on which the int8 ranges of the backbones are measured.

Two kinds, listed with source and licence in calibration/README.md:
  photo_*   crops of photographs and textures that ship inside the scikit-image package and whose own documentation
            says CC0 or public domain; anything vaguer ("no known restrictions"), and portraits, are left out.
  part_*    rendered here: plates, wires, marks, objects on white, and the flat, dark and bright extremes that
            photographs do not reach but a line camera does.

Deterministic: the frozen RandomState generator, fixed seeds, and pinned package versions (models/requirements.txt).

usage: python calibration/make_images.py [--out FOLDER]
"""
import argparse
import pathlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 256  # one size for all: the histogram calibrators of ONNX Runtime stack the tensors of all images
SCALE = 3  # rendered larger, then reduced, so that edges are anti-aliased as a lens would make them

# name: (file in skimage/data, (left, top, width, height) of the crop, licence as stated in skimage.data)
PHOTOS = {
    "photo_camera": ("camera.png", (96, 0, 384, 384), "CC0, Lav Varshney"),
    "photo_brick": ("brick.png", (0, 0, 256, 256), "CC0, CC0Textures Bricks25"),
    "photo_brick_wide": ("brick.png", (0, 0, 512, 512), "CC0, CC0Textures Bricks25"),
    "photo_grass": ("grass.png", (128, 128, 256, 256), "CC0, linolafett, Grass 01"),
    "photo_gravel": ("gravel.png", (0, 0, 384, 384), "CC0, CC0Textures Gravel04"),
    "photo_cell": ("cell.png", (60, 110, 440, 440), "CC0, Paul Mueller et al."),
    "photo_clock": ("clock_motion.png", (50, 0, 300, 300), "public domain, Stefan van der Walt"),
    "photo_chelsea": ("chelsea.png", (60, 0, 300, 300), "CC0, Stefan van der Walt"),
    "photo_coffee": ("coffee.png", (0, 0, 400, 400), "CC0, Rachel Michetti"),
    "photo_coffee_wood": ("coffee.png", (400, 200, 200, 200), "CC0, Rachel Michetti"),
    "photo_retina": ("retina.jpg", (0, 0, 1411, 1411), "CC0, Mikael Haggstrom"),
    "photo_text": ("text.png", (0, 0, 172, 172), "public domain"),
}


def photos(folder):
    for name, (file, (x, y, w, h), _) in PHOTOS.items():
        image = Image.open(folder / file).convert("RGB")
        if x + w > image.width or y + h > image.height:
            raise SystemExit(f"{file}: crop {x},{y},{w},{h} leaves the image of {image.size}: another scikit-image version?")
        yield name, image.crop((x, y, x + w, y + h)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)


class Canvas:
    """A supersampled drawing in units of output pixels, with a noise source of its own."""

    def __init__(self, seed, background):
        self.rng = np.random.RandomState(seed)
        self.image = Image.new("RGB", (SIDE * SCALE, SIDE * SCALE), background)
        self.pen = ImageDraw.Draw(self.image)

    def box(self, x0, y0, x1, y1, fill):
        self.pen.rectangle([x0 * SCALE, y0 * SCALE, x1 * SCALE, y1 * SCALE], fill=fill)

    def disc(self, x, y, r, fill):
        self.pen.ellipse([(x - r) * SCALE, (y - r) * SCALE, (x + r) * SCALE, (y + r) * SCALE], fill=fill)

    def line(self, points, width, fill):
        self.pen.line([(x * SCALE, y * SCALE) for x, y in points], fill=fill, width=int(round(width * SCALE)), joint="curve")

    def polygon(self, points, fill):
        self.pen.polygon([(x * SCALE, y * SCALE) for x, y in points], fill=fill)

    def done(self, noise=2.0, blur=0.0, shade=None):
        """Reduces to the output size; `shade` multiplies (uneven light), then sensor noise is added."""
        image = self.image.filter(ImageFilter.GaussianBlur(blur * SCALE)) if blur else self.image
        pixels = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
        if shade is not None:
            pixels = pixels * shade[..., None]
        return to_image(pixels + self.rng.normal(0, noise, pixels.shape) if noise else pixels)


def to_image(pixels):
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), "RGB")


def grid():
    return np.meshgrid(np.arange(SIDE, dtype=np.float64), np.arange(SIDE, dtype=np.float64))


def ring(x, y, r, n, phase=0.0):
    turns = phase + 2 * np.pi * np.arange(n) / n
    return [(x + r * np.cos(t), y + r * np.sin(t)) for t in turns]


def glyphs(c, x, y, size, count, fill):
    """Text-like marks without a font: fonts differ between machines, strokes on a 3 x 5 grid do not."""
    for i in range(count):
        cells = c.rng.randint(0, 2, (5, 3))
        cells[:, 0] |= c.rng.randint(0, 2)
        for row, col in zip(*np.nonzero(cells)):
            left, top = x + (4 * i + col) * size, y + row * size
            c.box(left, top, left + size * 0.95, top + size * 0.95, fill)


def plate_holes():
    c = Canvas(1, (52, 54, 58))
    c.box(24, 24, 232, 232, (168, 170, 172))
    for _ in range(260):  # brushed metal
        y, tone = c.rng.uniform(24, 232), int(c.rng.uniform(150, 192))
        x = c.rng.uniform(24, 180)
        c.line([(x, y), (min(232, x + c.rng.uniform(20, 120)), y)], 0.5, (tone, tone, tone + 2))
    for x in (60, 128, 196):
        for y in (60, 128, 196):
            c.disc(x, y, 15, (206, 206, 204))
            c.disc(x, y, 12, (20, 20, 22))
    return c.done(3)


def wires():
    c = Canvas(2, (30, 32, 30))
    for i, colour in enumerate([(200, 30, 30), (230, 190, 20), (30, 90, 200), (235, 235, 235), (30, 150, 60), (120, 60, 20), (230, 110, 20), (15, 15, 15)]):
        x, a, p = 24 + 29 * i, c.rng.uniform(3, 9), c.rng.uniform(0, 6)
        path = [(x + a * np.sin(y / 38 + p), y) for y in range(-8, 266, 4)]
        c.line(path, 17, tuple(v // 3 for v in colour))
        c.line(path, 13, colour)
        c.line([(u - 3, v) for u, v in path], 2, tuple(min(255, v + 70) for v in colour))
    c.box(0, 108, 256, 150, (190, 190, 186))
    return c.done(3)


def nut_on_white():
    c = Canvas(3, (255, 255, 255))
    c.polygon(ring(136, 140, 88, 6, 0.2), (225, 225, 228))  # soft shadow
    c.polygon(ring(128, 128, 86, 6, 0.2), (120, 122, 126))
    c.disc(128, 128, 68, (158, 160, 164))
    for r in range(48, 36, -3):
        c.disc(128, 128, r, (70, 70, 74) if r % 2 else (176, 176, 176))
    c.disc(128, 128, 34, (255, 255, 255))
    return c.done(0, blur=0.5)  # no noise: a saturated sensor shows exactly 255


def silhouettes():
    c = Canvas(4, (255, 255, 255))
    for i, x in enumerate((44, 100, 156, 212)):
        c.box(x - 15, 40, x + 15, 58, (0, 0, 0))
        c.box(x - 7, 58, x + 7, 200 - 14 * i, (0, 0, 0))
        for y in range(80, 196 - 14 * i, 8):
            c.polygon([(x - 11, y), (x + 11, y + 3), (x + 11, y + 5), (x - 11, y + 2)], (0, 0, 0))
    return c.done(0)


def ring_on_dark():
    c = Canvas(5, (6, 6, 8))
    for r, v in ((104, 40), (98, 190), (90, 244), (80, 120), (66, 70), (60, 30), (52, 12)):
        c.disc(128, 128, r, (v, v, v))
    x, y = grid()
    return c.done(2, blur=1.2, shade=0.65 + 0.5 * (x + y) / (2 * SIDE))


def board():
    c = Canvas(6, (18, 92, 52))
    for _ in range(34):
        x, y = c.rng.uniform(0, 256, 2)
        path = [(x, y)]
        for _ in range(4):
            dx, dy = [(30, 0), (-30, 0), (0, 30), (21, 21), (-21, 21)][c.rng.randint(5)]
            path.append((path[-1][0] + dx, path[-1][1] + dy))
        c.line(path, 2.2, (40, 128, 76))
        c.disc(*path[-1], 4, (214, 190, 110))
        c.disc(*path[-1], 1.8, (16, 20, 18))
    for x, y, w, h in ((40, 48, 70, 46), (150, 130, 56, 72)):
        for k in range(0, w, 8):
            c.box(x + k + 2, y - 6, x + k + 5, y + h + 6, (206, 208, 206))
        c.box(x, y, x + w, y + h, (24, 24, 28))
        glyphs(c, x + 6, y + 10, 2.2, 5, (186, 186, 186))
    glyphs(c, 20, 222, 2.6, 12, (240, 240, 236))
    return c.done(3)


def label():
    c = Canvas(7, (246, 246, 242))
    x = 24.0
    while x < 228:
        w = c.rng.randint(1, 5) * 1.3
        c.box(x, 28, x + w, 104, (12, 12, 12))
        x += w + c.rng.randint(1, 4) * 1.6
    for row, col in zip(*np.nonzero(c.rng.randint(0, 2, (18, 18)))):
        c.box(150 + col * 4.6, 126 + row * 4.6, 154.6 + col * 4.6, 130.6 + row * 4.6, (12, 12, 12))
    for k in range(4):
        glyphs(c, 24, 126 + 22 * k, 3, 9, (30, 30, 32))
    return c.done(1.5)


def pills():
    c = Canvas(8, (44, 46, 60))
    for row in range(4):
        for col in range(4):
            x, y = 40 + col * 59 + c.rng.uniform(-4, 4), 40 + row * 59 + c.rng.uniform(-4, 4)
            base = [(226, 222, 210), (210, 74, 60), (70, 140, 214), (240, 200, 70)][(row + col) % 4]
            c.disc(x + 3, y + 4, 23, (16, 16, 22))
            for r in range(22, 0, -2):
                f = 0.7 + 0.3 * (1 - r / 22)
                c.disc(x - (22 - r) * 0.25, y - (22 - r) * 0.25, r, tuple(int(v * f) for v in base))
            c.disc(x - 7, y - 8, 3, (255, 255, 255))
    return c.done(2)


def weave():
    x, y = grid()
    over = (np.floor(x / 8) + np.floor(y / 8)) % 2
    thread = np.where(over > 0, np.abs(np.sin(np.pi * x / 8)), np.abs(np.sin(np.pi * y / 8)))
    base = 60 + 120 * thread + 10 * np.random.RandomState(9).normal(0, 1, x.shape)
    return to_image(base[..., None] * np.array([1.0, 0.94, 0.82]))


def ramps():
    x, y = grid()
    out = np.empty((SIDE, SIDE, 3))
    out[:128] = (x[:128] / 255 * 255)[..., None]  # every grey level
    angle = x[128:] / 256 * 2 * np.pi
    for k in range(3):  # every hue, dark to light
        out[128:, :, k] = (127.5 + 127.5 * np.cos(angle - k * 2 * np.pi / 3)) * (y[128:] - 128) / 127
    return to_image(out)


def star():
    x, y = grid()
    spokes = np.sign(np.sin(24 * np.arctan2(y - 127.5, x - 127.5)))  # every orientation and frequency, full contrast
    return to_image(np.repeat((127.5 + 127.5 * spokes)[..., None], 3, 2))


def patches():
    c = Canvas(10, (0, 0, 0))
    primary = [(r, g, b) for r in (0, 128, 255) for g in (0, 128, 255) for b in (0, 128, 255)]
    order = c.rng.permutation(np.arange(64) % 27)
    for i, k in enumerate(order):
        c.box(i % 8 * 32, i // 8 * 32, i % 8 * 32 + 32, i // 8 * 32 + 32, primary[k])
    return c.done(0)


def near_white():
    c = Canvas(11, (250, 250, 248))
    c.box(40, 60, 216, 196, (243, 243, 242))
    for _ in range(5):
        x, y = c.rng.uniform(30, 220, 2)
        c.line([(x, y), (x + c.rng.uniform(-50, 50), y + c.rng.uniform(-50, 50))], 1, (232, 232, 230))
    return c.done(1.5, blur=0.6)


def near_black():
    c = Canvas(12, (4, 4, 5))
    c.disc(128, 128, 84, (11, 11, 12))
    for _ in range(5):
        x, y = c.rng.uniform(30, 220, 2)
        c.line([(x, y), (x + c.rng.uniform(-50, 50), y + c.rng.uniform(-50, 50))], 1, (30, 30, 32))
    return c.done(1.5, blur=0.6)


def grey_sheet():
    x, y = grid()
    light = 1.15 - ((x - 110) ** 2 + (y - 120) ** 2) / 70000
    c = Canvas(13, (122, 122, 124))
    for _ in range(40):
        u, v, r = c.rng.uniform(0, 256), c.rng.uniform(0, 256), c.rng.uniform(0.6, 2.2)
        c.disc(u, v, r, (108, 108, 110))
    return c.done(5, blur=0.4, shade=light)


def noise():
    return to_image(np.random.RandomState(14).uniform(0, 255, (SIDE, SIDE, 3)))


def flat(level):
    return lambda: to_image(np.full((SIDE, SIDE, 3), level))


PARTS = {
    "part_plate_holes": plate_holes, "part_wires": wires, "part_nut_on_white": nut_on_white, "part_silhouettes": silhouettes,
    "part_ring_on_dark": ring_on_dark, "part_board": board, "part_label": label, "part_pills": pills, "part_weave": weave,
    "part_ramps": ramps, "part_star": star, "part_patches": patches, "part_near_white": near_white, "part_near_black": near_black,
    "part_grey_sheet": grey_sheet, "part_noise": noise, "part_flat_black": flat(0), "part_flat_white": flat(255),
}
LOSSLESS = {"part_nut_on_white", "part_silhouettes", "part_ramps", "part_star", "part_patches", "part_flat_black", "part_flat_white"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "images")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    import skimage  # only for the photographs inside the package

    made = list(photos(pathlib.Path(skimage.__file__).parent / "data")) + [(name, draw()) for name, draw in PARTS.items()]
    for name, image in made:
        if (np.asarray(image)[..., :1] == np.asarray(image)).all():
            image = image.convert("L")  # grey ones a third of the bytes
        if name in LOSSLESS:  # JPEG would ring around hard edges and not reach 0 and 255
            image.save(out / f"{name}.png", optimize=True)
        else:
            image.save(out / f"{name}.jpg", quality=90)
    files = sorted(out.glob("*.png")) + sorted(out.glob("*.jpg"))
    print(f"{len(files)} images, {sum(f.stat().st_size for f in files)} bytes in {out}")


if __name__ == "__main__":
    main()

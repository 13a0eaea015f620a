// The mock network's pictures: tests/pictures/astronaut.jpg cut to its face, at several sizes, drawn by the browser that
// runs the tests.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const PICTURES = fileURLToPath(new URL('../../pictures/', import.meta.url));
const AVIF = fileURLToPath(new URL('../../golden/avif/', import.meta.url));

/** Where the face is in the 512 x 512 portrait: a square as avatars have it. */
const FACE = { x: 128, y: 16, side: 200 };

/** @param {import('playwright-core').Page} page any page */
export async function drawPictures(page) {
  const portrait = readFileSync(`${PICTURES}astronaut.jpg`).toString('base64');
  const wanted = [
    ...[48, 96, 200, 400].map((side) => ({ name: `plain-${side}.jpg`, side, filter: 'none' })),
    ...[200, 400].map((side) => ({ name: `soft-${side}.jpg`, side, filter: 'blur(1.2px) contrast(1.25) saturate(1.5)' })),
  ];
  const drawn = await page.evaluate(
    async ([base64, face, list]) => {
      const bitmap = await createImageBitmap(await (await fetch(`data:image/jpeg;base64,${base64}`)).blob());
      const draw = ({ side, filter }) => {
        const canvas = Object.assign(document.createElement('canvas'), { width: side, height: side });
        const context = canvas.getContext('2d');
        context.filter = filter;
        context.drawImage(bitmap, face.x, face.y, face.side, face.side, 0, 0, side, side);
        return canvas;
      };
      const { data } = draw({ side: 128, filter: 'none' }).getContext('2d').getImageData(0, 0, 128, 128);
      return {
        pictures: list.map((one) => [one.name, draw(one).toDataURL('image/jpeg', 0.9).split(',')[1]]),
        grey: Array.from({ length: 128 * 128 }, (_, i) => data[4 * i + 1] >> 1),
      };
    },
    [portrait, FACE, wanted],
  );
  const pictures = new Map(drawn.pictures.map(([name, base64]) => [name, { type: 'image/jpeg', body: Buffer.from(base64, 'base64') }]));
  pictures.set('coffee.jpg', { type: 'image/jpeg', body: readFileSync(`${PICTURES}coffee.jpg`) });
  pictures.set('moving.gif', { type: 'image/gif', body: movingGif(drawn.grey, 128) });
  pictures.set('broken.jpg', { type: 'image/jpeg', body: pictures.get('plain-200.jpg').body.subarray(0, 900) });
  for (const name of ['face.avif', 'deep.avif']) pictures.set(name, { type: 'image/avif', body: readFileSync(`${AVIF}${name}`) });
  pictures.set('drawing.svg', {
    type: 'image/svg+xml',
    body: Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="128" height="128"><circle cx="64" cy="64" r="60" fill="#8ac"/></svg>'),
  });
  return pictures;
}

/** Two frames of 7-bit grey, in the form of LZW that never grows its table. */
function movingGif(grey, side) {
  const le16 = (number) => [number & 255, number >> 8];
  const palette = Array.from({ length: 128 }, (_, i) => [2 * i, 2 * i, 2 * i]).flat();
  const frame = (pixels) => {
    const codes = [];
    pixels.forEach((pixel, i) => {
      if (i % 120 === 0) codes.push(128); // clear, before the codes would grow to nine bits
      codes.push(pixel);
    });
    codes.push(129);
    const bytes = Buffer.from(codes); // eight bits a code are whole bytes
    const blocks = [];
    for (let at = 0; at < bytes.length; at += 255) {
      const block = bytes.subarray(at, at + 255);
      blocks.push(block.length, ...block);
    }
    return [0x21, 0xf9, 4, 0, 50, 0, 0, 0, 0x2c, 0, 0, 0, 0, ...le16(side), ...le16(side), 0, 7, ...blocks, 0];
  };
  const mirrored = grey.map((_, i) => grey[i - (i % side) + (side - 1 - (i % side))]);
  const loop = [0x21, 0xff, 11, ...Buffer.from('NETSCAPE2.0'), 3, 1, 0, 0, 0];
  return Buffer.from([...Buffer.from('GIF89a'), ...le16(side), ...le16(side), 0xf6, 0, 0, ...palette, ...loop, ...frame(grey), ...frame(mirrored), 0x3b]);
}

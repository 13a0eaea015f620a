// @ts-check
// Addresses of pictures as pages write them, in style sheets, srcset and data: addresses: pure functions over text that a
// page chose, which may be anything and of any length.

/** More than this of one value is not looked at. */
const MAX_FOUND = 8;

/**
 * How a picture's bytes can be had, or why they cannot: fetched by the extension, read in the page; a drawing, which is no
 * photo; kept where no extension may read.
 * @param {string} source a full address
 * @returns {'fetch' | 'page' | 'drawing' | 'scheme'}
 */
export function sourceKind(source) {
  const start = source.slice(0, 32).trimStart().toLowerCase();
  if (/^https?:/.test(start)) return 'fetch';
  if (start.startsWith('data:image/svg')) return 'drawing';
  // Browsers show a picture whatever its data: address calls it.
  return /^(blob|data):/.test(start) ? 'page' : 'scheme';
}

/**
 * The addresses in a computed `background-image` or `content`: one list for each layer that has any, in which further ones
 * are other forms of the same picture (`image-set`).
 * @param {string} value
 * @returns {string[][]}
 */
export function styleAddresses(value) {
  /** @type {string[][]} */
  const layers = [];
  /** @type {string[]} */
  let layer = [];
  let depth = 0;
  let found = 0;
  const endLayer = () => {
    if (layer.length) layers.push(layer);
    layer = [];
  };
  for (let at = 0; at < value.length && found < MAX_FOUND; ) {
    const char = value[at];
    if (char === '(') depth += 1;
    else if (char === ')') depth -= 1;
    else if (char === ',' && depth === 0) endLayer();
    else if (char === '"' || char === "'") {
      at = quoted(value, at).end; // the text of `content: "…"`
      continue;
    } else if ((char === 'u' || char === 'U') && /^url\($/i.test(value.slice(at, at + 4))) {
      const { text, end } = insideUrl(value, at + 4);
      if (text) {
        layer.push(text);
        found += 1;
      }
      at = end;
      continue;
    }
    at += 1;
  }
  endLayer();
  return layers;
}

/**
 * @param {string} value
 * @param {number} from behind the opening bracket
 * @returns {{text: string, end: number}} `end` behind the closing one
 */
function insideUrl(value, from) {
  let start = from;
  while (/\s/.test(value[start] ?? '')) start += 1;
  const isQuoted = value[start] === '"' || value[start] === "'";
  const inside = isQuoted ? quoted(value, start) : null;
  const close = value.indexOf(')', inside?.end ?? start);
  const end = close < 0 ? value.length : close;
  return { text: inside ? inside.text : value.slice(start, end).trim(), end: end + 1 };
}

/**
 * @param {string} value
 * @param {number} from at the opening quote
 * @returns {{text: string, end: number}} `end` behind the closing one
 */
function quoted(value, from) {
  const quote = value[from];
  let end = value.indexOf(quote, from + 1);
  while (end > 0 && isEscaped(value, end)) end = value.indexOf(quote, end + 1);
  if (end < 0) end = value.length;
  return { text: value.slice(from + 1, end).replace(/\\(.)/gs, '$1').trim(), end: end + 1 };
}

/**
 * @param {string} value
 * @param {number} at
 */
function isEscaped(value, at) {
  let slashes = 0;
  while (value[at - 1 - slashes] === '\\') slashes += 1;
  return slashes % 2 === 1;
}

/**
 * The addresses of a `srcset`.
 * @param {string} srcset
 * @returns {string[]}
 */
export function srcsetAddresses(srcset) {
  /** @type {string[]} */
  const found = [];
  const one = /[\s,]*(\S*[^\s,])(,|[^,]*)/y;
  while (found.length < MAX_FOUND) {
    const match = one.exec(srcset);
    if (!match) break;
    found.push(match[1]);
  }
  return found;
}

/** Types that the detector reads, from what is likeliest to be the whole photo on. */
const READABLE = ['jpeg', 'jpg', 'png', 'webp', 'gif', 'bmp'];

/**
 * Of other forms of one picture those worth a try where the shown one cannot be read, best first.
 * @param {{address: string, type: string}[]} forms `type` as the page states it, empty where it does not
 * @returns {string[]}
 */
export function readableForms(forms) {
  /** @param {{address: string, type: string}} form */
  const rank = ({ address, type }) => {
    const stated = /^image\/([\w+-]+)/.exec(type)?.[1];
    const ending = /\.(\w{3,4})(?:[?#]|$)/.exec(address)?.[1];
    const kind = (stated ?? ending ?? '').toLowerCase();
    const known = READABLE.indexOf(kind);
    if (known >= 0) return known;
    if (kind === 'avif') return READABLE.length + 1; // most browsers decode it, a little differently
    return stated || /^(jxl|heic|heif|svg)$/i.test(ending ?? '') ? -1 : READABLE.length;
  };
  const ranked = forms.map((form) => ({ address: form.address, rank: rank(form) })).filter((form) => form.rank >= 0);
  ranked.sort((a, b) => a.rank - b.rank);
  return [...new Set(ranked.map(({ address }) => address))];
}

/**
 * The bytes of a data: address.
 * @param {string} source
 * @returns {string} in base64
 */
export function dataBase64(source) {
  const comma = source.indexOf(',');
  const body = source.slice(comma + 1);
  if (!/;\s*base64\s*$/i.test(source.slice(0, comma))) return btoa(unescapeBytes(body));
  return (body.includes('%') ? unescapeBytes(body) : body).replace(/\s+/g, '');
}

/**
 * @param {string} text percent-encoded
 * @returns {string} one character a byte
 */
function unescapeBytes(text) {
  // What is no byte can only be a mistake of the page; the picture then tells.
  return text.replace(/%([0-9a-f]{2})|[^\0-\xff]/gi, (_, hex) => (hex ? String.fromCharCode(Number.parseInt(hex, 16)) : '?'));
}

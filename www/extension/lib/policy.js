// @ts-check
// Which addresses a picture may be fetched from. A page chooses the address and the extension fetches it with more
// rights than the page has, so that nothing but public http(s) is let through.

/** An address longer than this is no picture's; data: pictures never come as an address. */
export const MAX_URL_CHARS = 4096;

/**
 * `bad_url`: not an address. `scheme`: not http(s). `credentials`: carries a user name. `private`: a private network.
 * @typedef {'bad_url' | 'scheme' | 'credentials' | 'private'} Refusal
 */

/** Names that never lead to a public host (RFC 6761, 6762, 8375, and what home routers use). */
const PRIVATE_SUFFIXES = ['localhost', 'local', 'internal', 'intranet', 'lan', 'home', 'corp', 'private', 'home.arpa'];

/** IPv4 blocks that are not public, as [first address, bits of the prefix] (IANA special-purpose registry). */
const PRIVATE_V4 = /** @type {const} */ ([
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3], // multicast and reserved
]);

/**
 * @param {string} dotted `a.b.c.d`, as the URL parser writes it
 * @returns {number}
 */
function v4Number(dotted) {
  return dotted.split('.').reduce((number, part) => number * 256 + Number(part), 0);
}

/** @param {number} address */
function isPrivateV4(address) {
  return PRIVATE_V4.some(([first, bits]) => {
    const size = 2 ** (32 - bits);
    return Math.floor(address / size) === Math.floor(v4Number(first) / size);
  });
}

/**
 * The eight groups of an IPv6 address in the URL parser's form.
 * @param {string} address without brackets
 * @returns {number[]}
 */
function v6Groups(address) {
  /** @type {(part: string) => number[]} */
  const groups = (part) => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16)));
  const [head, tail] = address.split('::');
  const front = groups(head);
  if (tail === undefined) return front;
  const back = groups(tail);
  return [...front, ...Array(8 - front.length - back.length).fill(0), ...back];
}

/** @param {string} address */
function isPrivateV6(address) {
  const groups = v6Groups(address);
  // Only 2000::/3 is handed out; of that, Teredo and 6to4 carry an IPv4 address, so does 64:ff9b::/96 outside of it.
  if (groups[0] >> 13 !== 1) return true;
  return (groups[0] === 0x2001 && groups[1] === 0) || groups[0] === 0x2002;
}

/**
 * Whether a host is, by its name alone, in a private network. A public name that resolves to a private address is not
 * seen: that answer would cross the browser's own rules for local networks.
 * @param {string} hostname as `URL.hostname` gives it
 * @returns {boolean}
 */
export function isPrivateHost(hostname) {
  if (hostname.startsWith('[')) return isPrivateV6(hostname.slice(1, -1));
  if (/^\d+\.\d+\.\d+\.\d+$/.test(hostname)) return isPrivateV4(v4Number(hostname));
  const name = hostname.replace(/\.$/, '');
  return !name.includes('.') || PRIVATE_SUFFIXES.some((suffix) => name.endsWith(`.${suffix}`));
}

/**
 * Why a picture must not be fetched from `address`, or null where it may.
 * @param {string} address
 * @returns {Refusal | null}
 */
export function refusal(address) {
  if (address.length > MAX_URL_CHARS || !URL.canParse(address)) return 'bad_url';
  const { protocol, username, password, hostname } = new URL(address);
  if (protocol !== 'http:' && protocol !== 'https:') return 'scheme';
  if (username || password) return 'credentials';
  return isPrivateHost(hostname) ? 'private' : null;
}

/**
 * The match pattern that covers a site; patterns know no port.
 * @param {string} address
 * @returns {string}
 */
export function sitePattern(address) {
  const { protocol, hostname } = new URL(address);
  return `${protocol}//${hostname}/*`;
}

/**
 * The site of a pattern in the words of a person.
 * @param {string} pattern
 * @returns {string}
 */
export function siteName(pattern) {
  return pattern.replace(/^\w+:\/\//, '').replace(/\/\*$/, '');
}

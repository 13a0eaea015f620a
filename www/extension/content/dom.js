// @ts-check
// Reads the DOM in spite of the page: a form field called `getAttribute`, or an image called `createTreeWalker`, takes the
// place of its form's or document's own member, for content scripts too. So every member that is used is taken from its
// prototype here. Tags are compared instead of classes, as an element that came from a frame is of that frame's classes.

/**
 * @param {object} prototype
 * @param {string} name
 * @returns {(thing: object) => any}
 */
function getterOf(prototype, name) {
  const { get } = /** @type {{get: () => any}} */ (Object.getOwnPropertyDescriptor(prototype, name));
  return (thing) => get.call(thing);
}

const computedStyle = globalThis.getComputedStyle.bind(globalThis);
const { getAttribute, getBoundingClientRect } = Element.prototype;
const { createElement, createTreeWalker } = Document.prototype;
const { append } = Element.prototype;
const namespaceOf = getterOf(Element.prototype, 'namespaceURI');
const localNameOf = getterOf(Element.prototype, 'localName');

/** @type {(node: Node) => boolean} */
export const isInPage = getterOf(Node.prototype, 'isConnected');
/** @type {(node: Node) => Element | null} */
export const parentOf = getterOf(Node.prototype, 'parentElement');
/** @type {(document: Document) => Element} */
const rootOf = getterOf(Document.prototype, 'documentElement');
/** @type {(document: Document) => boolean} whether nobody looks at it now */
export const isHidden = getterOf(Document.prototype, 'hidden');
/** @type {(node: Node) => string} */
const baseOf = getterOf(Node.prototype, 'baseURI');
/** @type {(node: Node) => number} */
const nodeTypeOf = getterOf(Node.prototype, 'nodeType');

/** What an `<img>` shows. */
export const image = {
  /** @type {(element: Element) => boolean} */
  complete: getterOf(HTMLImageElement.prototype, 'complete'),
  /** @type {(element: Element) => number} */
  width: getterOf(HTMLImageElement.prototype, 'naturalWidth'),
  /** @type {(element: Element) => number} */
  height: getterOf(HTMLImageElement.prototype, 'naturalHeight'),
  /** @type {(element: Element) => string} */
  current: getterOf(HTMLImageElement.prototype, 'currentSrc'),
};

/** @type {(frame: Element) => Document | null} null where the frame is of another site */
export const frameDocument = getterOf(HTMLIFrameElement.prototype, 'contentDocument');
/** @type {(video: Element) => number} width of the moving picture, 0 where there is none yet */
export const videoWidth = getterOf(HTMLVideoElement.prototype, 'videoWidth');

/**
 * @param {unknown} node
 * @returns {node is Element}
 */
export function isElement(node) {
  return typeof node === 'object' && node !== null && 'nodeType' in node && nodeTypeOf(/** @type {Node} */ (node)) === Node.ELEMENT_NODE;
}

/**
 * The name of an element, `svg:` before it where it is none of HTML.
 * @param {Element} element
 * @returns {string}
 */
export function tagOf(element) {
  const name = localNameOf(element);
  return namespaceOf(element)?.endsWith('/xhtml') ? name : `svg:${name}`;
}

/**
 * @param {Element} element
 * @param {string} name
 * @returns {string} empty where there is none
 */
export function attributeOf(element, name) {
  return getAttribute.call(element, name) ?? '';
}

/**
 * @param {Element} element
 * @returns {DOMRect}
 */
export function boxOf(element) {
  return getBoundingClientRect.call(element);
}

/**
 * @param {Element} element
 * @param {string | null} pseudo
 * @returns {(property: string) => string}
 */
export function styleOf(element, pseudo = null) {
  const style = computedStyle(element, pseudo);
  return (property) => style.getPropertyValue(property);
}

/**
 * A relative address in full.
 * @param {string} address
 * @returns {string | null} null where it is no address
 */
export function fullAddress(address) {
  try {
    return new URL(address, baseOf(document)).href;
  } catch {
    return null;
  }
}

/**
 * @param {Node} root
 * @returns {TreeWalker} over elements
 */
export function walkerOf(root) {
  return createTreeWalker.call(document, root, NodeFilter.SHOW_ELEMENT);
}

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function makeOwn(tag) {
  return /** @type {any} */ (createElement.call(document, tag));
}

/** @param {Element} element put at the end of the page */
export function appendToPage(element) {
  append.call(rootOf(document), element);
}

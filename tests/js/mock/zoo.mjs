// Elements that a page may put between portraits, by accident or to switch the check off: each kind on its own, with good
// portraits before, between and after them. `GOOD` is what must be found all the same.

/** Parts of a page that are hostile to whoever looks at it. Scripts run in the page's world. */
const HOSTILE = [
  // Addresses that are none.
  '<svg width="96" height="96"><image href="http://[" width="96" height="96" /></svg>',
  '<svg width="96" height="96"><image href="https://exa mple/%zz" width="96" height="96" /></svg>',
  '<svg width="96" height="96"><image xlink:href="http://a:b:c" width="96" height="96" /></svg>',
  '<svg width="96" height="96"><image href="" width="96" height="96" /></svg>',
  '<svg width="96" height="96"><image width="96" height="96" /></svg>',
  '<svg width="96" height="96"><image href="javascript:alert(1)" width="96" height="96" /></svg>',
  '<div style="width:96px;height:96px;background:url(\'http://[\')"></div>',
  '<div style="width:96px;height:96px;background:url(http://:99999/)"></div>',
  '<div style="width:96px;height:96px;background:url(\'//\')"></div>',
  '<div style="width:96px;height:96px;background-image:url(\'https://%\')"><b>x</b></div>',
  '<div style="width:96px;height:96px;content:url(\'http://[\')"></div>',
  '<div class="bad-before"></div>',
  '<input type="image" src="http://[" width="96" height="96" alt="" />',
  '<video poster="http://[" width="96" height="96"></video>',
  '<object type="image/jpeg" data="http://[" width="96" height="96"></object>',
  '<embed type="image/jpeg" src="http://[" width="96" height="96" />',
  '<img src="http://[" width="96" height="96" alt="" />',
  '<img srcset="http://[ 1x, , ,, http://] 2x" width="96" height="96" alt="" />',
  '<picture><source srcset=",,,"><source srcset="http://["><img src="/photo/plain-96.jpg?n=odd-srcset" width="96" height="96" alt=""></picture>',
  // Members clobbered by names.
  '<form class="avatar" style="width:96px;height:96px;background:url(/photo/plain-96.jpg?n=form)"><input name="getAttribute" /></form>',
  '<form style="width:96px;height:96px"><input name="getBoundingClientRect" /><input name="localName" /><input name="isConnected" /></form>',
  '<form style="width:96px;height:96px"><input name="parentElement" /><input name="nodeType" /><input name="namespaceURI" /></form>',
  '<form style="width:96px;height:96px"><input name="firstElementChild" /><input name="children" /><input name="textContent" /></form>',
  '<form style="width:96px;height:96px"><input name="style" /><input name="className" /><input name="attributes" /><input name="shadowRoot" /></form>',
  '<form><input name="ownerDocument" /><input name="baseURI" /><input name="getRootNode" /><img class="avatar" src="/photo/plain-96.jpg?n=in-form" width="96" height="96" alt=""></form>',
  '<img name="createTreeWalker" alt="" />',
  '<img name="documentElement" alt="" />',
  '<img name="createElement" alt="" />',
  '<img name="baseURI" alt="" />',
  '<form name="addEventListener"></form>',
  '<form name="hidden"></form>',
  '<form name="querySelectorAll"></form>',
  '<form name="querySelector" hidden></form>',
  '<form name="body"></form>',
  '<iframe name="getComputedStyle" hidden></iframe>',
  '<iframe name="innerWidth" hidden></iframe>',
  '<a id="URL" href="#">x</a>',
  '<a id="performance" href="#">x</a>',
  '<a id="requestIdleCallback" href="#">x</a>',
  // Words without measure.
  `<div class="${'icon '.repeat(20_000)}" style="width:96px;height:96px;background:url(/photo/plain-96.jpg?n=many-classes)"></div>`,
  `<img alt="${'\u202e((((('.repeat(5000)}" src="/photo/plain-96.jpg?n=long-alt" width="96" height="96">`,
  // Addresses without measure.
  `<img src="data:image/png;base64,${'A'.repeat(300_000)}" width="96" height="96" alt="" />`,
  '<div id="huge" style="width:96px;height:96px"></div>',
  '<img src="data:image/jpeg,%zz%f" width="96" height="96" alt="" />',
  '<div style="width:96px;height:96px;background:url(data:;,)"></div>',
  '<img src="data:,%" width="96" height="96" alt="" />',
  // What closes itself.
  '<canvas id="tainted" width="96" height="96"></canvas>',
  '<canvas id="lost" width="0" height="0"></canvas>',
  '<canvas id="huge-canvas" width="100" height="100" style="width:96px;height:96px"></canvas>',
  '<iframe id="doomed" srcdoc="<p>x" width="96" height="96"></iframe>',
  '<iframe src="http://[" width="96" height="96"></iframe>',
  '<object data="about:blank" width="96" height="96"></object>',
  '<frameset></frameset>',
  '<portal src="http://["></portal>',
  '<x-throws style="width:96px;height:96px"></x-throws>',
  '<x-closed></x-closed>',
  '<div id="thrower" class="avatar" style="width:96px;height:96px;background:url(/photo/plain-96.jpg?n=thrower)"></div>',
  '<img id="throwing-image" class="avatar" src="/photo/plain-96.jpg?n=throwing" width="96" height="96" alt="">',
  '<div id="adopted"></div>',
  '<div id="nested" style="width:96px;height:96px"></div>',
  '<math><mi>x</mi><annotation-xml encoding="text/html"><p>x</p></annotation-xml></math>',
  '<svg width="96" height="96"><foreignObject width="96" height="96"><img class="avatar" src="/photo/plain-96.jpg?n=foreign" width="96" height="96" alt=""></foreignObject></svg>',
  '<svg width="96" height="96"><style>image{}</style><use href="#none"/><pattern><image href="http://["/></pattern></svg>',
  '<template><img src="http://["></template>',
  '<noscript><img src="http://["></noscript>',
  '<marquee style="width:96px">x</marquee>',
  '<plaintext-like style="width:96px;height:96px;background:url(\\"></plaintext-like>',
];

const SCRIPT = `
  const $ = (selector) => Document.prototype.querySelector.call(document, selector);
  const throwing = (target, names) => names.forEach((name) =>
    Object.defineProperty(target, name, { configurable: true, get() { throw new Error('hostile ' + name); } }));
  throwing($('#thrower'), ['localName', 'getAttribute', 'getBoundingClientRect', 'isConnected', 'parentElement', 'style', 'namespaceURI']);
  throwing($('#throwing-image'), ['currentSrc', 'src', 'complete', 'naturalWidth', 'getAttribute', 'closest']);
  customElements.define('x-throws', class extends HTMLElement {
    static observedAttributes = ['class', 'style'];
    get shadowRoot() { throw new Error('hostile shadow'); }
    getAttribute() { throw new Error('hostile attribute'); }
    getBoundingClientRect() { throw new Error('hostile box'); }
  });
  customElements.define('x-closed', class extends HTMLElement {
    constructor() {
      super();
      const root = this.attachShadow({ mode: 'closed' });
      root.innerHTML = '<form><input name="getAttribute"></form><img class="avatar" src="/photo/plain-96.jpg?n=good-closed" width="96" height="96">';
    }
  });
  // Elements of a frame's own classes, whose frame is gone.
  const make = (tag) => Document.prototype.createElement.call(document, tag);
  const frame = make('iframe');
  $('#adopted').append(frame);
  const foreign = frame.contentDocument.createElement('img');
  Object.assign(foreign, { src: new URL('/photo/plain-96.jpg?n=good-adopted', location).href, width: 96, height: 96, className: 'avatar' });
  $('#adopted').append(foreign);
  frame.remove();
  $('#doomed').addEventListener('load', ({ target }) => target.remove());
  const picture = new Image();
  picture.onload = () => $('#tainted').getContext('2d').drawImage(picture, 0, 0, 96, 96);
  picture.src = 'CDN/photo/plain-96.jpg?n=taint';
  $('#huge').style.backgroundImage = 'url("data:image/png;base64,' + 'B'.repeat(30_000_000) + '")';
  let deep = $('#nested');
  for (let n = 0; n < 3000; n += 1) deep = deep.appendChild(make('i'));
  // Something always moves.
  setInterval(() => $('#nested').classList.toggle('x'), 50);
`;

const PLACES = ['first', 'between', 'last'];
/** Kinds of good portraits, each put into every place. */
const PORTRAITS = {
  plain: (n) => `<img class="avatar" src="/photo/plain-96.jpg?n=good-${n}" width="96" height="96" alt="">`,
  background: (n) => `<div style="width:96px;height:96px;background:url(/photo/plain-96.jpg?n=good-${n})"><span>Ana</span></div>`,
  before: (n) => `<style>.${n}::before{content:'';display:block;width:96px;height:96px;background:url(/photo/plain-96.jpg?n=good-${n})}</style><div class="${n}"></div>`,
  svg: (n) => `<svg width="96" height="96"><image href="/photo/plain-96.jpg?n=good-${n}" width="96" height="96" /></svg>`,
};

/** Names that every scan must find, as the query of their addresses has them. */
export const GOOD = [
  ...PLACES.flatMap((place) => Object.keys(PORTRAITS).map((kind) => `good-${kind}-${place}`)),
  'good-closed',
  'good-adopted',
  // These stand in hostile surroundings, and are portraits all the same.
  'in-form',
  'form',
  'throwing',
  'thrower',
  'foreign',
];

export const HOSTILE_COUNT = HOSTILE.length;

/** @param {string} cdn address of another site */
export function zooPage(cdn) {
  const good = (place) => Object.entries(PORTRAITS).map(([kind, make]) => make(`${kind}-${place}`)).join('\n');
  const half = Math.floor(HOSTILE.length / 2);
  return `<!doctype html><html><head><meta charset="utf-8"><title>Zoo</title>
    <style>.bad-before::before{content:url('http://[');background:url('http://[')}</style></head><body>
    ${good('first')}
    ${HOSTILE.slice(0, half).join('\n')}
    ${good('between')}
    ${HOSTILE.slice(half).join('\n')}
    ${good('last')}
    <script>${SCRIPT.replace('CDN', cdn)}</script></body></html>`;
}

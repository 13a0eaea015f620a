// @ts-check
// The names of all messages between the parts of the extension; messages.js has their shapes. Apart from them because
// content scripts are no modules: build.sh joins this file into theirs.

/** From a content script; `open` from the popup too. `gone`: the document ends; `frames`: it has a new frame. */
export const HELLO = 'hello';
export const GONE = 'gone';
export const CHECK = 'check';
export const TALLY = 'tally';
export const FRAMES = 'frames';
export const OPEN = 'open';

/** To a content script. */
export const SCAN = 'scan';
export const ASK = 'ask';
export const MODE = 'mode';
export const RESULTS = 'results';
export const READ = 'read';

/** From a page of the extension. */
export const CHECK_PAGE = 'check-page';
export const SET_SITE = 'set-site';
export const RETRY = 'retry';
export const EVIDENCE = 'evidence';
export const STATUS = 'status';
export const CLEAR_CACHE = 'clear-cache';

/** To the engine. */
export const ENQUEUE = 'enqueue';
export const DROP = 'drop';
export const PREFER = 'prefer';

/** From the engine. */
export const DONE = 'done';
export const LOOKUP = 'lookup';
export const FETCH_PAGE = 'fetch-page';
/** May this job's picture still be read: by permission, or by a press of the toolbar button? */
export const STILL_ALLOWED = 'still-allowed';

/** Addresses in `to`: where contexts share one bus, each must know its own mail. */
export const BACKGROUND = 'background';
export const ENGINE_HOST = 'engine-host';
export const CONTENT = 'content';

/** Pictures that a content script may send at a time, and have under way. */
export const MAX_ITEMS = 16;

/** Names of pictures that only the page holds (blob:, data:): `page:1`, `page:2`. */
export const PAGE_PICTURE = /^page:\d{1,9}$/;

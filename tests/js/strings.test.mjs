// The text table and the page agree, and verdicts keep to the words that were fixed for them.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ENGLISH, LANGUAGES, chooseLanguage, setLanguage, text } from '../../www/shared/strings.js';

const www = new URL('../../www/', import.meta.url);
const read = (name) => readFileSync(new URL(name, www), 'utf8');
/** The scripts in a folder, if it is there. */
const scripts = (folder) => {
  const names = existsSync(new URL(folder, www)) ? readdirSync(new URL(folder, www), { recursive: true }) : [];
  return names.filter((name) => /\.(js|html)$/.test(name) && !/strings/.test(name)).map((name) => folder + name);
};
const page = ['main.js', 'index.html', ...scripts('page/'), ...scripts('shared/')].map(read).join('\n');
const extension = scripts('extension/').map(read).join('\n');
const keysIn = (code) => new Set([...code.matchAll(/['"](\w+)['"]/g)].map(([, word]) => word));
const html = read('index.html');
const unescape = (words) => words.replaceAll('&amp;', '&').replaceAll('&lt;', '<').replaceAll('&gt;', '>');

test('every text in index.html is the one of the table', () => {
  const marked = [...html.matchAll(/data-text="(\w+)"[^>]*>([^<]*)</g)];
  assert.ok(marked.length > 20, `found only ${marked.length} marked texts`);
  for (const [, key, words] of marked) assert.equal(unescape(words), ENGLISH[key], key);
});

test('index.html shows no words but marked ones', () => {
  const body = html.slice(html.indexOf('<body>')).replace(/data-text="\w+"[^>]*>[^<]*</g, '><');
  const words = body.replace(/<[^>]*>/g, ' ').split(/\s+/).filter((word) => /\p{L}/u.test(word));
  assert.deepEqual(words, ['grnet'], 'the name of the program alone needs no translation');
});

test('every key of the table is used', () => {
  const used = keysIn(page + extension);
  for (const key of Object.keys(ENGLISH)) assert.ok(used.has(key), `${key} is used nowhere`);
});

test('every language has every key that the page uses, with the same values to put in, and no other', () => {
  const used = keysIn(page);
  const marks = (words) => [...words.matchAll(/\{\w+\}/g)].map(([mark]) => mark).sort();
  assert.ok(Object.keys(LANGUAGES).length >= 2);
  for (const [code, { table }] of Object.entries(LANGUAGES)) {
    const missing = Object.keys(ENGLISH).filter((key) => used.has(key) && !(key in table));
    assert.deepEqual(missing, [], code);
    for (const [key, words] of Object.entries(table)) {
      assert.ok(key in ENGLISH, `${code} has ${key}, which English has not`);
      assert.deepEqual(marks(words), marks(ENGLISH[key]), `${code}, ${key}`);
    }
  }
});

test('the first language that there is a table for is spoken, English otherwise', () => {
  assert.equal(chooseLanguage(['fr', 'de-AT', 'en']), 'de');
  assert.equal(chooseLanguage(['', 'fr']), 'en');
  assert.equal(chooseLanguage(['constructor']), 'en');
  setLanguage('de');
  assert.equal(text('face', { number: 2 }), 'Gesicht 2');
  setLanguage('en');
});

test('text puts values in and leaves unknown marks visible', () => {
  assert.equal(text('face', { number: 2 }), 'Face 2');
  assert.equal(text('face'), 'Face {number}');
  assert.equal(text('queueProgress', { done: 0, total: 3 }), '0 of 3 photos checked');
});

test('no verdict calls a photo real or authentic', () => {
  for (const { table } of Object.values(LANGUAGES)) {
    const verdicts = Object.entries(table).filter(([key]) => /^(band|reason|votes|meaning|stability)/.test(key));
    assert.ok(verdicts.length >= 12);
    for (const [key, words] of verdicts) assert.doesNotMatch(words, /\b(real|authentic|genuine|echt|authentisch)\b/i, key);
  }
});

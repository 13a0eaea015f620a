// The text table and the page agree, and verdicts keep to the words that were fixed for them.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ENGLISH, text } from '../../www/shared/strings.js';

const read = (name) => readFileSync(new URL(`../../www/${name}`, import.meta.url), 'utf8');
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

test('every key used in the code is in the table, and every key of the table is used', () => {
  const code = ['main.js', 'shared/view.js'].map(read).join('\n') + html;
  const used = new Set([...code.matchAll(/['"](\w+)['"]/g)].map(([, word]) => word));
  for (const key of Object.keys(ENGLISH)) assert.ok(used.has(key), `${key} is used nowhere`);
});

test('text puts values in and leaves unknown marks visible', () => {
  assert.equal(text('face', { number: 2 }), 'Face 2');
  assert.equal(text('face'), 'Face {number}');
  assert.equal(text('queueProgress', { done: 0, total: 3 }), '0 of 3 photos checked');
});

test('no verdict calls a photo real or authentic', () => {
  const verdicts = Object.entries(ENGLISH).filter(([key]) => /^(band|reason|votes)/.test(key));
  assert.ok(verdicts.length >= 12);
  for (const [key, words] of verdicts) assert.doesNotMatch(words, /\b(real|authentic|genuine)\b/i, key);
});

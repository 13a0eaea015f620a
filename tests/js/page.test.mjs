// The page's parts that need no browser: the order of the grid, the names and contents of kept reports.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keptName, keptReport } from '../../www/page/keep.js';
import { sorted } from '../../www/page/queue.js';

const job = (name, band, pFake) => ({
  file: { name },
  state: band ? 'done' : 'waiting',
  assessment: band && { report: { schema: 'grnet.report/1', band, p_fake: pFake }, failure: null },
  checkedAt: band && '2026-01-02T03:04:05.678Z',
});
const JOBS = [
  job('b10.jpg', 'no_signs_found', 0.2),
  job('b9.jpg', null, null),
  job('c.jpg', 'likely_fake', 0.7),
  job('a.jpg', 'not_assessed', null),
  job('d.jpg', 'likely_fake', 0.9),
];
const names = (order) => sorted(JOBS, order).map(({ file }) => file.name);

test('the grid is sorted by score, verdict, name, or as added', () => {
  assert.deepEqual(names('added'), ['b10.jpg', 'b9.jpg', 'c.jpg', 'a.jpg', 'd.jpg']);
  assert.deepEqual(names('score').slice(0, 3), ['d.jpg', 'c.jpg', 'b10.jpg']);
  assert.deepEqual(names('verdict'), ['d.jpg', 'c.jpg', 'b10.jpg', 'a.jpg', 'b9.jpg']);
  assert.deepEqual(names('name'), ['a.jpg', 'b9.jpg', 'b10.jpg', 'c.jpg', 'd.jpg']);
});

test('a kept report carries its time, and a photo not checked has none', () => {
  assert.equal(keptReport(JOBS[0]).checked_at, '2026-01-02T03:04:05.678Z');
  assert.equal(keptReport(JOBS[0]).p_fake, 0.2);
  assert.equal(keptReport(JOBS[1]), null);
});

test('kept files are named after the photo', () => {
  assert.equal(keptName('holiday.photo.jpg', 'json'), 'holiday.photo-grnet.json');
  assert.equal(keptName('.jpg', 'html'), 'photo-grnet.html');
});

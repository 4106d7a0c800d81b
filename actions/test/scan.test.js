'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { checkout, commit, depth, git, server, step, token } = require('./runner.js');

const ZERO = '0'.repeat(40);
const push = (before, after, more = {}) => ({ before, after, ref: 'refs/heads/main', repository: { default_branch: 'main' }, ...more });
const scan = (workspace, event, options = {}) => step('scan', { workspace, event, ...options });

test('a push is scanned from before to after, and only that', async () => {
  const place = server();
  commit(place, 'old', token());
  const before = git(place, 'rev-parse', 'HEAD');
  const secret = token();
  const after = commit(place, 'new', `TOKEN=${secret}`);
  const ran = await scan(checkout(place, after), push(before, after));
  assert.equal(ran.status, 1, ran.log);
  assert.equal(ran.output.findings, '1');
  assert.equal(ran.output.range, `${before}...${after}`);
  assert.match(ran.log, /::(error|warning) file=new,line=1/);
  assert.match(ran.summary, /GitLab/);
  assert.equal(JSON.parse(fs.readFileSync(ran.output.sarif)).version, '2.1.0');
  for (const text of [ran.log, ran.summary, fs.readFileSync(ran.output.sarif, 'utf8')]) assert.ok(!text.includes(secret));
});

test('fail-on decides what fails the step', async () => {
  const place = server();
  const before = git(place, 'rev-parse', 'HEAD');
  const after = commit(place, 'new', `TOKEN=${token()}`);
  const clone = checkout(place, after);
  const never = await scan(clone, push(before, after), { inputs: { 'fail-on': 'never' } });
  assert.deepEqual([never.status, never.output.findings, never.output.failing], [0, '1', '0'], never.log);
  const critical = await scan(clone, push(before, after), { inputs: { 'fail-on': 'critical', sarif: 'out/r.sarif' } });
  assert.deepEqual([critical.status, critical.output.failing], [1, '1'], critical.log);
  assert.ok(fs.existsSync(path.join(clone, 'out/r.sarif')));
  const wrong = await scan(clone, push(before, after), { inputs: { 'fail-on': 'sometimes' } });
  assert.equal(wrong.status, 1);
  assert.match(wrong.log, /`sometimes` is not one of any, critical/);
});

test('a pull request is scanned from its merge base; the clone is deepened no further than needed', async () => {
  const place = server(200);
  const fork = git(place, 'rev-parse', 'HEAD');
  git(place, 'checkout', '-q', '-b', 'change');
  for (let n = 0; n < 5; n += 1) commit(place, 'change', `${n}`);
  const head = commit(place, 'new', `TOKEN=${token()}`);
  git(place, 'checkout', '-q', 'main');
  const base = commit(place, 'other', `TOKEN=${token()}`);
  const clone = checkout(place, head);
  const event = { pull_request: { number: 1, base: { sha: base }, head: { sha: head } } };
  const ran = await scan(clone, event, { eventName: 'pull_request', inputs: { 'fail-on': 'never' } });
  assert.deepEqual([ran.status, ran.output.findings], [0, '1'], ran.log);
  assert.equal(git(clone, 'merge-base', base, head), fork);
  assert.ok(depth(clone) < 120, `${depth(clone)} commits were fetched`);
});

test('a pull request cannot switch off its own scan', async () => {
  const place = server();
  const base = git(place, 'rev-parse', 'HEAD');
  fs.writeFileSync(path.join(place, 'claviger.yaml'), "version: 1\nexclude: ['**']\n");
  const head = commit(place, 'new', `TOKEN=${token()}`);
  const event = { pull_request: { number: 1, base: { sha: base }, head: { sha: head } } };
  const ran = await scan(checkout(place, head), event, { eventName: 'pull_request' });
  assert.deepEqual([ran.status, ran.output.findings], [1, '1'], ran.log);
});

test('a new branch is scanned from the default branch, and a first push wholly', async () => {
  const place = server(50);
  commit(place, 'old', `TOKEN=${token()}`);
  git(place, 'checkout', '-q', '-b', 'side');
  const after = commit(place, 'new', `TOKEN=${token()}`);
  const side = await scan(checkout(place, after), push(ZERO, after, { ref: 'refs/heads/side' }));
  assert.equal(side.output.findings, '1', side.log);
  const first = await scan(checkout(place, after), push(ZERO, after, { repository: { default_branch: 'main' } }));
  assert.equal(first.output.findings, '2', first.log);
});

test('a default branch that was renamed, and one of odd characters', async () => {
  const place = server(3, 'odd $(name) \'é"');
  git(place, 'checkout', '-q', '-b', 'side');
  const after = commit(place, 'a;b $(c).txt', `TOKEN=${token()}`);
  for (const name of ['gone', '--upload-pack=x', 'a b', 'main']) {
    const ran = await scan(checkout(place, after), push(ZERO, after, { ref: 'refs/heads/side', repository: { default_branch: name } }));
    assert.equal(ran.output.findings, '1', `${name}: ${ran.log}`);
  }
});

test('a forced push whose base is gone falls back to the default branch, and says so', async () => {
  const place = server();
  git(place, 'checkout', '-q', '-b', 'side');
  const after = commit(place, 'new', `TOKEN=${token()}`);
  const event = push('1'.repeat(40), after, { ref: 'refs/heads/side', forced: true });
  const ran = await scan(checkout(place, after), event);
  assert.equal(ran.output.findings, '1', ran.log);
  assert.match(ran.log, /::notice title=claviger::what the push replaced is gone/);
});

test('history that cannot be fetched is an error, never a clean scan', async () => {
  const place = server(80);
  const before = git(place, 'rev-parse', 'HEAD~60');
  const after = commit(place, 'new', 'clean');
  const clone = checkout(place, after);
  git(clone, 'fetch', '-q', '--depth=1', 'origin', before);
  fs.renameSync(place, `${place}.gone`);
  const ran = await scan(clone, push(before, after));
  assert.equal(ran.status, 1, ran.log);
  assert.match(ran.log, /fetch-depth: 0/);
  assert.equal(ran.output.findings, undefined);
});

test('a server that is shallow itself ends in an error, not in a loop', async () => {
  const whole = server(80);
  const before = git(whole, 'rev-parse', 'HEAD~60');
  const after = git(whole, 'rev-parse', 'HEAD');
  const place = checkout(whole, after);
  git(place, 'fetch', '-q', '--depth=1', 'origin', before);
  git(place, 'config', 'uploadpack.allowAnySHA1InWant', 'true');
  const ran = await scan(checkout(place, after), push(before, after));
  assert.equal(ran.status, 1, ran.log);
  assert.match(ran.log, /fetch-depth: 0/);
});

test('an empty change, a deleted branch, a schedule', async () => {
  const place = server(40);
  const head = commit(place, 'old', `TOKEN=${token()}`);
  const empty = await scan(checkout(place, head), push(head, head));
  assert.deepEqual([empty.status, empty.output.findings], [0, '0'], empty.log);
  const deleted = await scan(checkout(place, head), push(head, ZERO, { deleted: true }));
  assert.deepEqual([deleted.status, deleted.output.findings], [0, '0'], deleted.log);
  const clone = checkout(place, head);
  const all = await scan(clone, {}, { eventName: 'schedule' });
  assert.deepEqual([all.status, all.output.findings], [1, '1'], all.log);
  assert.equal(depth(clone), 41);
});

test('a commit without parents in common with its base', async () => {
  const place = server();
  const base = git(place, 'rev-parse', 'HEAD');
  git(place, 'checkout', '-q', '--orphan', 'island');
  const head = commit(place, 'new', `TOKEN=${token()}`);
  const ran = await scan(checkout(place, head), push(base, head, { forced: true }));
  assert.equal(ran.output.findings, '1', ran.log);
});

test('a program that is not there is said in one line', async () => {
  const place = server();
  const head = git(place, 'rev-parse', 'HEAD');
  const ran = await scan(checkout(place, head), push(head, head), { inputs: { binary: '/nowhere/claviger' } });
  assert.equal(ran.status, 1);
  assert.match(ran.log, /run the action `setup` first/);
});

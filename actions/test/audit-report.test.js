'use strict';

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { BINARY, folder, step } = require('./runner.js');

/** A log of somebody who is refused again and again, and then is not. */
function log() {
  const place = folder();
  const claviger = (args, stdin) => execFileSync(BINARY, ['audit', ...args], { cwd: place, input: stdin, stdio: ['pipe', 'pipe', 'pipe'] });
  claviger(['init', 'log', '--origin', 'audit.example.com/test']);
  const events = Array.from({ length: 8 }, (_, n) => ({
    v: 1, time: `2026-11-20T09:2${n}:00Z`, type: n < 7 ? 'decision' : 'lease.issued', ...(n < 7 ? { outcome: 'refused', reason: 'ref is not main' } : { outcome: 'success', lease: 'lease-1', ttl_s: 900 }),
    who: { repository: 'acme/shop', actor: 'eve' }, target: { provider: 'aws', environment: 'prod', role: 'deploy' },
  }));
  claviger(['import', 'log', '-'], events.map((one) => JSON.stringify(one)).join('\n'));
  return place;
}
const report = (place, inputs = {}) => step('audit-report', { workspace: place, inputs: { log: 'log', key: 'log.vkey', ...inputs } });

test('verified, reported, with anomalies', async () => {
  const place = log();
  const ran = await report(place, { pin: 'log.pin' });
  assert.equal(ran.status, 0, ran.log);
  assert.equal(ran.output.verified, 'true');
  assert.ok(Number(ran.output.anomalies) > 0, ran.summary);
  assert.match(ran.summary, /## Audit log: verified/);
  assert.match(ran.summary, /## Anomalies\s+[^N\s]/);
  assert.match(fs.readFileSync(ran.output.report, 'utf8'), /<html/);
  assert.equal((await report(place, { 'fail-on': 'anomalies' })).status, 1);
});

test('a log that was changed fails, and is not reported on', async () => {
  const place = log();
  const tiles = fs.readdirSync(path.join(place, 'log'), { recursive: true }).map((it) => path.join(place, 'log', it)).filter((it) => fs.statSync(it).isFile());
  for (const file of tiles) {
    const bytes = fs.readFileSync(file);
    const at = bytes.indexOf('eve');
    if (at >= 0) fs.writeFileSync(file, Buffer.concat([bytes.subarray(0, at), Buffer.from('ada'), bytes.subarray(at + 3)]));
  }
  const ran = await report(place);
  assert.equal(ran.status, 1);
  assert.equal(ran.output.verified, 'false');
  assert.equal(ran.output.report, undefined);
  assert.match(ran.summary, /NOT verified/);
});

test('no log, an option as log, no key', async () => {
  const place = log();
  assert.match((await report(place, { log: 'none' })).log, /could not be checked/);
  assert.match((await report(place, { log: '--json' })).log, /not a log/);
  assert.match((await report(place, { key: '' })).log, /::warning .*without `key`/);
});

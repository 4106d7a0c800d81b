'use strict';

const assert = require('node:assert/strict');
const { execFileSync, spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const { after, before, test } = require('node:test');
const { BINARY, folder, step } = require('./runner.js');

let broker; // the broker that `claviger serve --dev` is
let url;
let ids; // the runner's token service
let keys;
const log = { text: '' };

before(async () => {
  const port = await new Promise((resolve) => {
    const probe = net.createServer().listen(0, '127.0.0.1', () => {
      const { port: free } = probe.address();
      probe.close(() => resolve(free));
    });
  });
  url = `http://127.0.0.1:${port}`;
  broker = spawn(BINARY, ['serve', '--dev', '--listen', `127.0.0.1:${port}`, '--log', 'debug']);
  for (const pipe of [broker.stdout, broker.stderr]) pipe.on('data', (bytes) => { log.text += bytes; });
  for (let tries = 0; tries < 200 && !(await fetch(`${url}/health`).then((it) => it.ok, () => false)); tries += 1) {
    await new Promise((done) => setTimeout(done, 50));
  }
  ids = http.createServer(async (request, response) => {
    const minted = (await (await fetch(`${url}/dev/token`)).text()).trim();
    setTimeout(() => response.setHeader('content-type', 'application/json').end(JSON.stringify({ value: minted })), ids.delay ?? 0);
  });
  await new Promise((done) => ids.listen(0, '127.0.0.1', done));
  keys = folder();
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path.join(keys, 'id')]);
});
after(() => {
  broker.kill();
  ids.closeAllConnections();
  ids.close();
});

/** The action with a job's identity; `more` is laid over it. */
function exchange({ inputs = {}, env = {}, ...more } = {}) {
  const identity = { ACTIONS_ID_TOKEN_REQUEST_URL: `http://127.0.0.1:${ids.address().port}/?api=1`, ACTIONS_ID_TOKEN_REQUEST_TOKEN: 'of-the-job' };
  return step('exchange', { inputs: { role: 'demo', broker: url, input: `public_key=@${keys}/id.pub`, ...inputs }, env: { ...identity, ...env }, ...more });
}
const post = (ran) => step('exchange', { script: 'post.js', state: ran.state });

test('outputs, masked before anything else, given back by the post step', async () => {
  const ran = await exchange();
  assert.equal(ran.status, 0, ran.log);
  const { lease, 'expires-at': expires, ...credential } = ran.output;
  assert.ok(lease && Date.parse(expires) > Date.now(), JSON.stringify(ran.output));
  assert.ok(Object.values(credential).some((value) => value.includes('ssh-ed25519-cert')), Object.keys(credential).join());
  for (const line of ran.log.split('\n').filter(Boolean)) assert.match(line, /^::add-mask::/);
  assert.ok(ran.log.includes(`::add-mask::${ran.state.handle}`));
  assert.deepEqual(ran.env, {});
  const given = await post(ran);
  assert.equal(given.status, 0, given.log);
  assert.match(given.log, /::notice title=claviger::.* given back/);
  assert.ok(!given.log.includes(ran.state.handle));
  assert.ok(!fs.existsSync(ran.state.folder));
});

test('variables with names of one\'s own; the handle in the state is enough to give back', async () => {
  const ran = await exchange({ inputs: { export: 'env', var: 'CERT=certificate' } });
  assert.equal(ran.status, 0, ran.log);
  assert.deepEqual(Object.keys(ran.env), ['CERT']);
  fs.rmSync(ran.state.folder, { recursive: true });
  const given = await post(ran);
  assert.match(given.log, / given back/);
});

test('files that only their owner reads, gone afterwards', async () => {
  const ran = await exchange({ inputs: { export: 'file', var: 'CERT=certificate' } });
  assert.equal(ran.status, 0, ran.log);
  const file = path.join(ran.output.folder, 'CERT');
  assert.equal(fs.statSync(file).mode & 0o777, 0o600);
  await post(ran);
  assert.ok(!fs.existsSync(file));
});

test('no identity token: one line that says what to add', async () => {
  const ran = await exchange({ env: { ACTIONS_ID_TOKEN_REQUEST_URL: '' } });
  assert.equal(ran.status, 1);
  assert.match(ran.log, /^::error title=claviger::[^\n]*`permissions: id-token: write`[^\n]*\n$/);
  assert.deepEqual([ran.state, ran.output], [{}, {}]);
  assert.equal((await post(ran)).status, 0);
});

test('a broker that is down, a role that is not ours, a role that is an option', async () => {
  const down = await exchange({ inputs: { broker: 'http://127.0.0.1:9', patience: '1s' } });
  assert.equal(down.status, 1);
  assert.match(down.log, /Nothing was handed over\. Is the broker at/);
  const stranger = await exchange({ inputs: { role: 'other' } });
  assert.match(stranger.log, /there is no role `other`/);
  const option = await exchange({ inputs: { role: '--help' } });
  assert.equal(option.status, 1, option.log);
  for (const ran of [down, stranger, option]) {
    assert.deepEqual([ran.output, ran.env], [{}, {}]);
    const given = await post(ran);
    assert.match(given.log, /nothing was issued/);
  }
});

test('cancelled in the middle: what is issued is given back', async () => {
  ids.delay = 1500;
  const ran = await exchange({ started: (child) => setTimeout(() => child.kill('SIGINT'), 700) });
  ids.delay = 0;
  assert.equal(ran.status, 1, ran.log);
  assert.match(ran.log, /cancelled: .* given back/);
  assert.equal((await post(ran)).status, 0);
});

test('killed in the middle: the post step waits for the exchange and gives back', async () => {
  ids.delay = 2000;
  const killed = await exchange({ started: (child) => setTimeout(() => child.kill('SIGKILL'), 1000) });
  const given = await post(killed);
  ids.delay = 0;
  assert.match(given.log, / given back/);
});

test('jobs of a matrix at once have leases of their own', async () => {
  const all = await Promise.all([1, 2, 3, 4].map(() => exchange()));
  assert.equal(new Set(all.map((ran) => ran.output.lease)).size, 4, all.map((ran) => ran.log).join());
  for (const ran of all) assert.match((await post(ran)).log, / given back/);
});

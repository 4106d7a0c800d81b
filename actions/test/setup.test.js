'use strict';

const assert = require('node:assert/strict');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');
const { after, before, test } = require('node:test');
const { BINARY, folder, step } = require('./runner.js');

// Stands for the program: says its version, and leaves a trace when it is run.
const trace = path.join(folder(), 'ran');
const program = `#!/bin/sh\necho run >> '${trace}'\necho claviger 9.8.7\n`;
const sha256 = createHash('sha256').update(program).digest('hex');
const served = { asked: 0, answer: program, unwell: 0 };
const server = http.createServer((request, response) => {
  served.asked += 1;
  if (request.url.startsWith('/loop/')) return response.writeHead(302, { location: request.url }).end();
  if (served.unwell-- > 0) return response.writeHead(500).end();
  return request.url === '/files/claviger-test' ? response.end(served.answer) : response.writeHead(404).end();
});
before(() => new Promise((done) => server.listen(0, '127.0.0.1', done)));
after(() => {
  server.closeAllConnections();
  server.close();
});

const tools = folder();
/** The action with a digest file for this machine, whose file's name is `file`. */
function setup(inputs = {}, { place = 'files', file = 'claviger-test', cache = tools } = {}) {
  const digests = path.join(folder(), 'digests.json');
  const asset = { [`${process.platform}-${process.arch}`]: { file, sha256 } };
  fs.writeFileSync(digests, JSON.stringify({ latest: '9.8.7', versions: { '9.8.7': asset, '9.0.0': {} } }));
  const mirror = `http://127.0.0.1:${server.address().port}/${place}/`;
  return step('setup', { inputs: { binary: '', mirror, digests, ...inputs }, env: { RUNNER_TOOL_CACHE: cache } });
}
const runs = () => (fs.existsSync(trace) ? fs.readFileSync(trace, 'utf8').split('\n').length - 1 : 0);

test('fetched once although the server is unwell at first, then out of the tool cache', async () => {
  served.unwell = 1;
  const first = await setup();
  assert.equal(first.status, 0, first.log);
  assert.equal(first.output.version, '9.8.7');
  assert.equal(first.path, `${path.dirname(first.output.path)}\n`);
  const { asked } = served;
  assert.equal((await setup()).status, 0);
  assert.equal(served.asked, asked);
});

test('a cache that was changed is not run', async () => {
  const { output } = await setup();
  fs.writeFileSync(output.path, '#!/bin/sh\ntouch /nowhere/at/all\n');
  const ran = await setup();
  assert.equal(ran.status, 0, ran.log);
  assert.match(ran.log, /::warning .*tool cache/);
  assert.equal(fs.readFileSync(output.path, 'utf8'), program);
});

test('another digest: not run, not cached, not on PATH', async () => {
  const before = runs();
  served.answer = `${program}# and more\n`;
  const cache = folder();
  const ran = await setup({}, { cache });
  served.answer = program;
  assert.equal(ran.status, 1);
  assert.match(ran.log, /is not what was released, and was not run/);
  assert.deepEqual([ran.path, fs.readdirSync(cache), runs()], ['', [], before]);
});

test('a missing file, a redirect loop, unknown versions and platforms', async () => {
  const cases = [
    [{}, { file: 'none' }, /status 404/],
    [{}, { place: 'loop' }, /redirect/],
    [{ version: '1.0.0' }, {}, /1\.0\.0 is not known to this action; it knows 9\.8\.7, 9\.0\.0/],
    [{ version: 'constructor' }, {}, /constructor is not known/],
    [{ version: '9.0.0' }, {}, /has no program for/],
    [{ binary: 'none/there' }, {}, /is not there/],
    [{ digests: '' }, {}, /there is no release yet: .*`version: source`/],
  ];
  for (const [inputs, options, wanted] of cases) {
    const ran = await setup(inputs, { cache: folder(), ...options });
    assert.equal(ran.status, 1, ran.log);
    assert.match(ran.log, wanted);
    assert.equal(ran.path, '');
  }
});

test('a program that is there already', async () => {
  const ran = await setup({ binary: BINARY });
  assert.equal(ran.status, 0, ran.log);
  assert.equal(ran.path, `${path.dirname(BINARY)}\n`);
  assert.match(ran.output.version, /^\d+\.\d+\.\d+/);
});

test('from source, cargo builds this action\'s own tree', async () => {
  // A cargo that notes its arguments: the real one would build for minutes.
  const bin = folder();
  const cargo = path.join(bin, 'cargo');
  fs.writeFileSync(cargo, '#!/bin/sh\necho "$@"\nwhile [ "$1" != --root ]; do shift; done\nmkdir -p "$2/bin"\nprintf \'#!/bin/sh\\necho claviger 1.2.3\\n\' > "$2/bin/claviger"\nchmod +x "$2/bin/claviger"\n', { mode: 0o755 });
  const ran = await step('setup', { inputs: { binary: '', version: 'source' }, env: { PATH: `${bin}:${process.env.PATH}` } });
  assert.equal(ran.status, 0, ran.log);
  assert.ok(ran.log.includes(`install --locked --path ${path.resolve(__dirname, '../../crates/cli')} `), ran.log);
  assert.equal(ran.output.version, '1.2.3');
});

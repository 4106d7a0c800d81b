// Exchanges the job's identity for a credential. The post step gives it back.
//
// The program itself masks and hands over, so that no credential passes through this script.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { Told, choice, input, lines, main, mask, output, required, run, saveState, temporaryFolder } = require('../lib/runner.js');
const { giveBack } = require('./lease.js');

const WAYS = { outputs: 'github-output', env: 'github-env', file: 'file' };

async function exchange() {
  const role = required('role');
  const broker = input('broker', process.env.CLAVIGER_BROKER);
  if (!broker) throw new Told('input `broker` is missing: the address of the broker');
  const way = choice('export', Object.keys(WAYS));
  if (!process.env.ACTIONS_ID_TOKEN_REQUEST_URL) {
    throw new Told('the job gets no identity token: add `permissions: id-token: write` to it (a pull request from a fork gets none in any case)');
  }
  const folder = temporaryFolder();
  // Before the exchange: whatever becomes of this step, the post step knows where to look.
  saveState('folder', folder);
  saveState('binary', input('binary', 'claviger'));
  const lease = path.join(folder, 'lease');
  const args = ['exchange', `--role=${role}`, `--broker=${broker}`, `--lease=${lease}`, `--format=${WAYS[way]}`];
  if (way === 'file') args.push(`--folder=${path.join(folder, 'files')}`);
  for (const name of ['ttl', 'audience', 'target-audience', 'patience', 'ca']) if (input(name)) args.push(`--${name}=${input(name)}`);
  for (const name of ['input', 'var']) args.push(...lines(name).map((one) => `--${name}=${one}`));

  // A cancelled job sends SIGINT. The exchange runs on in a group of its own: what it gets is then given back, while
  // one that is cut short between broker and lease file would live until it expires.
  let cancelled = false;
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => { cancelled = true; });
  const started = (child) => child.pid && fs.writeFileSync(path.join(folder, 'pid'), String(child.pid));
  const ran = await run(input('binary', 'claviger'), args, { show: true, detached: true, started });
  fs.rmSync(path.join(folder, 'pid'), { force: true });
  if (cancelled) {
    throw new Told(`cancelled: ${await giveBack(input('binary', 'claviger'), folder, '')}`);
  }
  if (ran.status !== 0) {
    throw new Told(`${ran.err.replace(/^claviger: /, '') || `status ${ran.status}`}\nNothing was handed over. Is the broker at ${broker} up, reachable from this runner, and does its policy give this job the role \`${role}\`?`);
  }
  const { handle, id, expires_at: expires } = JSON.parse(fs.readFileSync(lease, 'utf8'));
  mask(handle);
  // The state is for this action's post step alone. With the handle in it the lease can be given back even if a step
  // empties the temporary folder.
  saveState('handle', handle);
  saveState('broker', broker);
  output('lease', id);
  output('expires-at', expires);
  if (way === 'file') output('folder', path.join(folder, 'files'));
}

main(exchange);

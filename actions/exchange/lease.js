// Gives a lease back.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { Told, run } = require('../lib/runner.js');

/** How long an exchange that outlived its step is waited for, in milliseconds: its calls end within that. */
const WAIT_MS = 60_000;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** Whether the exchange that a killed step left behind still runs. */
function isRunning(folder) {
  try {
    process.kill(Number(fs.readFileSync(path.join(folder, 'pid'), 'utf8')), 0);
    return true;
  } catch {
    return false;
  }
}

/** Revokes what `folder` or `handle` names, and removes the folder; resolves to what was done. */
async function giveBack(binary, folder, handle, broker = '') {
  const lease = path.join(folder, 'lease');
  for (let waited = 0; isRunning(folder) && waited < WAIT_MS; waited += 100) await sleep(100);
  const env = { ...process.env };
  const args = ['revoke'];
  if (fs.existsSync(lease)) args.push(`--lease=${lease}`);
  else if (handle) {
    env.CLAVIGER_HANDLE = handle;
    args.push(`--broker=${broker}`);
  } else {
    fs.rmSync(folder, { recursive: true, force: true });
    return 'nothing was issued';
  }
  const ca = process.env.INPUT_CA?.trim();
  if (ca) args.push(`--ca=${ca}`);
  const ran = await run(binary, args, { env });
  fs.rmSync(folder, { recursive: true, force: true });
  if (ran.status !== 0) throw new Told(`the lease could not be given back and ends by itself when it expires: ${ran.err}`);
  return ran.out.trim();
}

module.exports = { giveBack };

// Puts claviger on PATH: a release whose digest stands in this action's own tree, a program that is there already, or
// one built from this action's own tree.
//
// Nothing is run, cached or put on PATH before its digest is the one of `digests.json`, which comes with the commit
// that the workflow pins.
'use strict';

const { createHash } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { Told, inWorkspace, input, main, output, run, say } = require('../lib/runner.js');

const ROOT = path.resolve(__dirname, '../..');
/** The largest program that is taken, in bytes, and how long its download may take, in milliseconds. */
const LARGEST = 256 * 1024 * 1024;
const PATIENCE_MS = 300_000;
const TRIES = 3;

async function setup() {
  const { program, version } = await find();
  const ran = await run(program, ['version']);
  if (ran.status !== 0) throw new Told(`${program} does not start: ${ran.err}`);
  fs.appendFileSync(process.env.GITHUB_PATH, `${path.dirname(program)}\n`);
  output('path', program);
  output('version', ran.out.match(/\d+\.\d+\.\d+\S*/)?.[0] ?? version);
}

/** The program that the inputs name. */
async function find() {
  if (input('binary')) {
    const program = inWorkspace(input('binary'));
    if (!fs.existsSync(program)) throw new Told(`input \`binary\`: ${program} is not there`);
    return { program, version: '' };
  }
  const pinned = JSON.parse(fs.readFileSync(input('digests') ? inWorkspace(input('digests')) : path.join(__dirname, 'digests.json'), 'utf8'));
  const version = input('version') || pinned.latest;
  if (version === 'source') return source();
  if (!version) throw new Told('there is no release yet: build it from this action\'s own tree with `version: source`, or name a program with `binary`');
  if (!Object.hasOwn(pinned.versions, version)) {
    throw new Told(`version ${version} is not known to this action; it knows ${Object.keys(pinned.versions).join(', ') || 'none'}, and \`source\``);
  }
  const platform = `${process.platform}-${process.arch}`;
  const asset = Object.hasOwn(pinned.versions[version], platform) ? pinned.versions[version][platform] : undefined;
  if (!asset) throw new Told(`version ${version} has no program for ${platform}: use \`version: source\``);
  return { program: await release(version, platform, asset), version };
}

/** The tool cache's folder for a version, as other actions lay it out. */
const cached = (version, platform) => path.join(process.env.RUNNER_TOOL_CACHE || path.join(os.homedir(), '.cache'), 'claviger', version, platform);
const name = process.platform === 'win32' ? 'claviger.exe' : 'claviger';
const digest = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** A release out of the tool cache or from the server; in both cases its digest is checked. */
async function release(version, platform, { file, sha256 }) {
  const folder = cached(version, platform);
  const program = path.join(folder, name);
  if (fs.existsSync(program)) {
    if (digest(fs.readFileSync(program)) === sha256) return program;
    say('warning', 'the program in the tool cache is not the one that was put there; it is fetched anew');
  }
  const base = input('mirror', `https://github.com/claviger/claviger/releases/download/v${version}`);
  const bytes = await download(`${base.replace(/\/$/, '')}/${file}`);
  const is = digest(bytes);
  if (is !== sha256) throw new Told(`${base}/${file} has the SHA-256 ${is}, not ${sha256}: it is not what was released, and was not run`);
  fs.mkdirSync(folder, { recursive: true });
  // Whole or not at all, for jobs that share the cache.
  const temporary = `${program}.${process.pid}`;
  fs.writeFileSync(temporary, bytes, { mode: 0o755 });
  fs.renameSync(temporary, program);
  return program;
}

/** Fetches a file; tries again when the server is unwell. `fetch` ends redirect loops after 20. */
async function download(url) {
  for (let tried = 1; ; tried += 1) {
    try {
      return await once(url);
    } catch (error) {
      if (error instanceof Told || tried === TRIES) throw new Told(`${url} cannot be fetched: ${error.cause?.message ?? error.message}`);
      await new Promise((done) => setTimeout(done, 1000 * tried));
    }
  }
}

async function once(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) throw new Told(`status ${answer.status}`);
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const parts = [];
  let length = 0;
  for await (const part of answer.body) {
    length += part.length;
    if (length > LARGEST) throw new Told(`it has more than ${LARGEST} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** Builds this action's own tree, which the runner has checked out whole. */
async function source() {
  const folder = cached('source', `${process.platform}-${process.arch}-${digest(ROOT).slice(0, 12)}`);
  const args = ['install', '--locked', '--path', path.join(ROOT, 'crates/cli'), '--root', folder];
  const ran = await run('cargo', args, { show: true });
  if (ran.status !== 0) throw new Told(`cargo install failed: ${ran.err.slice(-4000)}`);
  return { program: path.join(folder, 'bin', name), version: 'source' };
}

main(setup);

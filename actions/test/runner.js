// Plays the runner: starts an action's script as the runner does, with inputs, files and an event, and reads back
// what it wrote.
'use strict';

const { execFileSync, spawn } = require('node:child_process');
const { randomBytes } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

const BINARY = path.resolve(process.env.CLAVIGER_BINARY || path.join(__dirname, '../../target/debug/claviger'));
const FILES = ['OUTPUT', 'ENV', 'STATE', 'PATH', 'STEP_SUMMARY'];

/** A new folder, gone when the tests end. */
function folder() {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), 'claviger-actions-'));
  process.on('exit', () => fs.rmSync(made, { recursive: true, force: true }));
  return made;
}

/** The `name<<DELIMITER` entries of a file as an object. */
function entries(text) {
  const found = {};
  const lines = text.split('\n');
  for (let n = 0; n < lines.length; n += 1) {
    const [name, delimiter] = lines[n].split('<<');
    if (!delimiter) continue;
    const end = lines.indexOf(delimiter, n + 1);
    found[name] = lines.slice(n + 1, end).join('\n');
    n = end;
  }
  return found;
}

/** Starts `actions/NAME/SCRIPT`; resolves to its status, output and what it left in the runner's files. */
function step(name, { script = 'index.js', inputs = {}, env = {}, event = {}, eventName = 'push', workspace, state = {}, started } = {}) {
  const files = folder();
  const at = (file) => path.join(files, file);
  for (const file of FILES) fs.writeFileSync(at(file), '');
  fs.writeFileSync(at('event.json'), JSON.stringify(event));
  const all = { PATH: process.env.PATH, HOME: files, GITHUB_ACTIONS: 'true', RUNNER_TEMP: files, RUNNER_TOOL_CACHE: at('tools') };
  for (const file of FILES) all[`GITHUB_${file}`] = at(file);
  Object.assign(all, { GITHUB_EVENT_PATH: at('event.json'), GITHUB_EVENT_NAME: eventName, GITHUB_WORKSPACE: workspace || files, INPUT_BINARY: BINARY });
  for (const [key, value] of Object.entries(inputs)) all[`INPUT_${key.toUpperCase()}`] = String(value);
  for (const [key, value] of Object.entries(state)) all[`STATE_${key}`] = value;
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [path.join(__dirname, '..', name, script)], { env: { ...all, ...env }, cwd: all.GITHUB_WORKSPACE });
    if (started) started(child, files);
    let log = '';
    for (const pipe of [child.stdout, child.stderr]) pipe.on('data', (bytes) => { log += bytes; });
    child.on('close', (status) => {
      const read = (file) => fs.readFileSync(at(file), 'utf8');
      resolve({ status, log, summary: read('STEP_SUMMARY'), path: read('PATH'), output: entries(read('OUTPUT')), env: entries(read('ENV')), state: entries(read('STATE')), files });
    });
  });
}

/** Runs git in a repository, with nothing of this machine's configuration. */
function git(cwd, ...args) {
  const env = { PATH: process.env.PATH, HOME: cwd, GIT_CONFIG_NOSYSTEM: '1', GIT_CONFIG_GLOBAL: '/dev/null' };
  for (const who of ['AUTHOR', 'COMMITTER']) Object.assign(env, { [`GIT_${who}_NAME`]: 'ada', [`GIT_${who}_EMAIL`]: 'ada@example.com' });
  return execFileSync('git', args, { cwd, env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }).trim();
}

/** A server repository with some history, which lets commits be fetched by id as GitHub does. */
function server(commits = 3, name = 'server') {
  const place = path.join(folder(), name);
  fs.mkdirSync(place);
  git(place, 'init', '-q', '-b', 'main');
  git(place, 'config', 'uploadpack.allowAnySHA1InWant', 'true');
  for (let n = 0; n < commits; n += 1) commit(place, 'log', `line ${n}`);
  return place;
}

/** Writes a file, commits it, and says the commit's id. */
function commit(place, file, text) {
  fs.writeFileSync(path.join(place, file), `${text}\n`);
  git(place, 'add', '-A');
  git(place, 'commit', '-q', '-m', `write ${file}`);
  return git(place, 'rev-parse', 'HEAD');
}

/** A clone as actions/checkout makes it: one commit deep, detached. */
function checkout(place, ref) {
  const clone = path.join(folder(), 'clone');
  git('/', 'init', '-q', clone);
  git(clone, 'remote', 'add', 'origin', `file://${place}`);
  git(clone, 'fetch', '-q', '--no-tags', '--depth=1', 'origin', ref);
  git(clone, 'checkout', '-q', '--detach', 'FETCH_HEAD');
  return clone;
}

const depth = (clone) => Number(git(clone, 'rev-list', '--all', '--count', 'HEAD'));

/** A token of a known shape, made up anew each time. */
const token = () => `gl${'pat'}-${randomBytes(30).toString('base64').replace(/[^A-Za-z0-9]/g, 'x').slice(0, 20)}`;

module.exports = { BINARY, checkout, commit, depth, folder, git, server, step, token };

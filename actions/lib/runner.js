// What the runner gives a step and takes from it: inputs, files for outputs and state, workflow commands, programs.
//
// The runner checks out this whole repository for an action in one of its folders, so `../lib` is always there.
'use strict';

const { spawn } = require('node:child_process');
const { randomBytes } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');

/** The most of a program's output that is kept, in bytes. */
const KEPT = 4 * 1024 * 1024;
/** The runner takes a step summary of 1 MiB. */
const SUMMARY = 1000 * 1000;

/** An error whose message is all that the user needs to see. */
class Told extends Error {}

/** An input, trimmed; `otherwise` where it is empty. */
function input(name, otherwise = '') {
  return (process.env[`INPUT_${name.replace(/ /g, '_').toUpperCase()}`] ?? '').trim() || otherwise;
}

/** An input that is one of a few words. */
function choice(name, words) {
  const given = input(name, words[0]);
  if (!words.includes(given)) throw new Told(`input \`${name}\`: \`${given}\` is not one of ${words.join(', ')}`);
  return given;
}

/** An input that must be there. */
function required(name) {
  const given = input(name);
  if (!given) throw new Told(`input \`${name}\` is missing`);
  return given;
}

/** An input's lines without empty ones. */
function lines(name) {
  return input(name).split(/\r?\n/).map((line) => line.trim()).filter(Boolean);
}

/** A path of an input: from the job's workspace on. */
const inWorkspace = (given) => path.resolve(process.env.GITHUB_WORKSPACE || '.', given);

/** A new folder that the runner removes when the job ends. */
const temporaryFolder = () => fs.mkdtempSync(path.join(process.env.RUNNER_TEMP || os.tmpdir(), 'claviger-'));

/** The data of a workflow command. */
function escape(text) {
  return String(text).replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');
}

/** An annotation: `error`, `warning` or `notice`. */
function say(level, text) {
  fs.writeSync(1, `::${level} title=claviger::${escape(text)}\n`);
}

/** Masks a value, and each of its lines. Nothing shorter than four characters: it would garble the log. */
function mask(value) {
  for (const one of new Set([value, ...value.split(/\r?\n/)])) {
    if (one.trim().length >= 4) fs.writeSync(1, `::add-mask::${escape(one)}\n`);
  }
}

/** Appends `name`, `value` to one of the runner's files; the delimiter is random, so that no value ends early. */
function entry(file, name, value) {
  const place = process.env[file];
  if (!place) throw new Told(`${file} is not set: this is no step of a GitHub Actions job`);
  const delimiter = `claviger_${randomBytes(16).toString('hex')}`;
  fs.appendFileSync(place, `${name}<<${delimiter}\n${value}\n${delimiter}\n`);
}

const output = (name, value) => entry('GITHUB_OUTPUT', name, value);
/** Keeps a value for the post step of the same action in the same job, and for nobody else. */
const saveState = (name, value) => entry('GITHUB_STATE', name, value);
const state = (name) => process.env[`STATE_${name}`] ?? '';

/** Appends Markdown to the step summary, cut where the runner would refuse it. */
function summary(markdown) {
  const place = process.env.GITHUB_STEP_SUMMARY;
  if (!place) return;
  const room = SUMMARY - (fs.existsSync(place) ? fs.statSync(place).size : 0);
  const bytes = Buffer.from(markdown);
  const note = '\n\nCut: a step summary holds 1 MiB.\n';
  if (bytes.length <= room) fs.appendFileSync(place, bytes);
  else if (room > note.length) {
    const cut = bytes.subarray(0, room - note.length).toString().replace(/\uFFFD+$/, '');
    fs.appendFileSync(place, cut.slice(0, cut.lastIndexOf('\n') + 1) + note);
  }
}

/** The event that started the workflow. */
function event() {
  const place = process.env.GITHUB_EVENT_PATH;
  return place && fs.existsSync(place) ? JSON.parse(fs.readFileSync(place, 'utf8')) : {};
}

/**
 * Runs a program without a shell; resolves to `{ status, out, err }`. `show` passes its standard output to the log
 * as it comes. Standard error is always kept, so that text from elsewhere cannot give the runner commands.
 */
function run(program, args, { env = process.env, cwd, show = false, detached = false, started } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { env, cwd, detached, stdio: ['ignore', show ? 'inherit' : 'pipe', 'pipe'] });
    if (started) started(child);
    const kept = { out: [], err: [] };
    const keep = (list) => {
      let length = 0;
      return (bytes) => {
        length += bytes.length;
        if (length <= KEPT) list.push(bytes);
      };
    };
    child.stdout?.on('data', keep(kept.out));
    child.stderr.on('data', keep(kept.err));
    child.on('error', (error) => reject(error.code === 'ENOENT'
      ? new Told(`\`${program}\` is not there` + (/claviger/.test(program) ? ': run the action `setup` first, or name the program in `binary`' : ''))
      : error));
    child.on('close', (code, signal) => resolve({
      status: signal ? 128 : code,
      out: Buffer.concat(kept.out).toString(),
      err: Buffer.concat(kept.err).toString().trim(),
    }));
  });
}

/** Runs an action's step: what it throws becomes one error line and a failed step. */
async function main(step) {
  try {
    await step();
  } catch (error) {
    say('error', error instanceof Told ? error.message : error.stack);
    process.exitCode = 1;
  }
}

module.exports = { Told, choice, escape, event, inWorkspace, input, lines, main, mask, output, required, run, say, saveState, state, summary, temporaryFolder };

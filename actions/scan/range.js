// Which commits an event adds, and the history that is needed to tell: a shallow clone is deepened step by step, and
// no further than to where the two sides meet.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { Told, run, say } = require('../lib/runner.js');

/** Commits that the first deepening adds; each next one adds twice as many. */
const FIRST = 32;
/** The last and largest deepening. */
const MOST = 2 ** 22;
const ID = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;
const is = (id) => typeof id === 'string' && ID.test(id) && !/^0+$/.test(id);

/** A repository as a job has checked it out. `token` is used where the checkout kept none. */
class Clone {
  constructor(folder, token) {
    this.folder = folder;
    this.token = token;
  }

  /** Runs git without prompts and without the repository's hooks; nothing secret in its arguments. */
  async git(args, { remote = false } = {}) {
    const config = [['core.hooksPath', '/dev/null'], ['safe.directory', path.resolve(this.folder)]];
    if (remote && this.token && (await this.git(['config', '--get-regexp', '^http\\..*\\.extraheader$'])).status !== 0) {
      const server = process.env.GITHUB_SERVER_URL || 'https://github.com';
      const basic = Buffer.from(`x-access-token:${this.token}`).toString('base64');
      config.push([`http.${server}/.extraheader`, `AUTHORIZATION: basic ${basic}`]);
    }
    const env = { ...process.env, GIT_TERMINAL_PROMPT: '0', LC_ALL: 'C', GIT_CONFIG_COUNT: String(config.length) };
    config.forEach(([key, value], n) => Object.assign(env, { [`GIT_CONFIG_KEY_${n}`]: key, [`GIT_CONFIG_VALUE_${n}`]: value }));
    return run('git', args, { cwd: this.folder, env });
  }

  async fetch(...args) {
    const common = ['fetch', '--quiet', '--no-tags', '--no-recurse-submodules', '--no-write-fetch-head'];
    return (await this.git([...common, ...args], { remote: true })).status === 0;
  }

  async isShallow() {
    return (await this.git(['rev-parse', '--is-shallow-repository'])).out.trim() === 'true';
  }

  async has(id) {
    return (await this.git(['cat-file', '-e', `${id}^{commit}`])).status === 0;
  }

  /** Brings a commit by its id, or by a ref that leads to it. A whole clone is not made shallow by that. */
  async bring(id, ref) {
    if (await this.has(id)) return true;
    const depth = (await this.isShallow()) ? ['--depth=1'] : [];
    if ((await this.fetch(...depth, 'origin', id)) && (await this.has(id))) return true;
    return Boolean(ref) && (await this.fetch(...depth, 'origin', ref)) && this.has(id);
  }

  /** The commit that a branch of the remote stands at, fetched; nothing if there is no such branch. */
  async branch(name) {
    const ref = `refs/heads/${name}`;
    if ((await this.git(['check-ref-format', ref])).status !== 0) return undefined;
    const listed = await this.git(['ls-remote', 'origin', ref], { remote: true });
    const id = listed.out.split('\n').map((line) => line.split('\t')).find(([, found]) => found === ref)?.[0];
    return is(id) && (await this.bring(id, ref)) ? id : undefined;
  }

  /** Whether all commits that `head` has and `base` has not are here, down to where both meet. */
  async isWhole(base, head) {
    if (!(await this.isShallow())) return true;
    if ((await this.git(['merge-base', base, head])).status !== 0) return false;
    const place = (await this.git(['rev-parse', '--git-path', 'shallow'])).out.trim();
    const cut = new Set(fs.readFileSync(path.resolve(this.folder, place), 'utf8').split('\n'));
    const listed = await this.git(['rev-list', head, `^${base}`]);
    return listed.status === 0 && !listed.out.split('\n').some((id) => id && cut.has(id));
  }

  /** Deepens until the range is whole. */
  async deepen(base, head) {
    for (let more = FIRST; !(await this.isWhole(base, head)); more *= 2) {
      // A server that is shallow itself has no more to give, however deep one asks.
      const got = more <= MOST && ((await this.fetch(`--deepen=${more}`, 'origin', base, head)) || (await this.unshallow()));
      if (!got) {
        throw new Told('the history that is needed is not in this clone and cannot be fetched: give the checkout `fetch-depth: 0`, or this action a `token` with `contents: read`');
      }
    }
  }

  async unshallow() {
    return !(await this.isShallow()) || this.fetch('--unshallow', 'origin');
  }
}

/** Base and head as an event names them; `ref` leads to the head where its id alone cannot be fetched. */
function named(name, event) {
  if (event.pull_request) {
    const { base, head, number } = event.pull_request;
    return { base: base?.sha, head: head?.sha, ref: Number.isInteger(number) ? `refs/pull/${number}/head` : undefined };
  }
  if (name === 'merge_group') return { base: event.merge_group?.base_sha, head: event.merge_group?.head_sha };
  if (name === 'push') return { base: event.before, head: event.after, isPush: true };
  return {};
}

/**
 * What to scan for an event: `{ range, trust }`, `{ all: true }`, or `{ nothing: why }`. `trust` is the commit whose
 * configuration holds, so that a change cannot switch off its own scan.
 */
async function range(name, event, clone) {
  const { base, head, ref, isPush } = named(name, event);
  if (isPush && event.deleted) return { nothing: 'the push deletes a branch or tag' };
  if (head === undefined) return whole(clone);
  if (!is(head)) throw new Told(`the event \`${name}\` names no commit`);
  if (!(await clone.bring(head, ref ?? event.ref))) {
    throw new Told(`the commit ${head} is not in this clone and cannot be fetched: let actions/checkout run first`);
  }
  let from = is(base) && (await clone.bring(base)) ? base : undefined;
  if (!from && !isPush) throw new Told('the base of the change cannot be fetched: give the checkout `fetch-depth: 0`');
  if (!from) from = await beside(event, clone, head, is(base));
  if (!from) return whole(clone);
  await clone.deepen(from, head);
  if ((await clone.git(['merge-base', from, head])).status !== 0) return { range: `${from}..${head}`, trust: from };
  return { range: `${from}...${head}`, trust: from };
}

/** For a push without a usable base: the default branch, unless that is what was pushed. */
async function beside(event, clone, head, wasForced) {
  const fallback = event.repository?.default_branch;
  const other = fallback && event.ref !== `refs/heads/${fallback}` ? await clone.branch(fallback) : undefined;
  const what = other ? 'what the default branch has not' : 'the whole history';
  if (wasForced) say('notice', `what the push replaced is gone from the server; ${what} is scanned`);
  return other === head ? undefined : other;
}

async function whole(clone) {
  if (!(await clone.unshallow())) {
    throw new Told('the whole history is wanted and cannot be fetched: give the checkout `fetch-depth: 0`');
  }
  return { all: true };
}

module.exports = { Clone, range };

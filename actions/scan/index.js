// Scans what the event adds, and says it as annotations, SARIF, step summary and outputs.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const { Told, choice, event, inWorkspace, input, lines, main, output, run, say, summary, temporaryFolder } = require('../lib/runner.js');
const { Clone, range } = require('./range.js');

/** Severities from the worst down; `fail-on: high` fails on high and critical. */
const SEVERITIES = ['critical', 'high', 'medium', 'low'];

async function scan() {
  const failOn = choice('fail-on', ['any', ...SEVERITIES, 'never']);
  const scope = choice('scope', ['change', 'history', 'files']);
  const folder = inWorkspace(input('path', '.'));
  const temporary = temporaryFolder();
  const at = (name) => path.join(temporary, name);
  const sarif = input('sarif') ? inWorkspace(input('sarif')) : at('claviger.sarif');
  const what = await wanted(scope, new Clone(folder, input('token')));
  if (what.nothing) return nothing(what.nothing);
  const args = ['scan', '--quiet', '--exit-zero', ...what.flags,
    '--format', 'github', '--output', '-', '--format', 'sarif', '--output', sarif,
    '--format', 'json', '--output', at('report.json'), '--format', 'markdown', '--output', at('summary.md')];
  if (input('min-confidence')) args.push('--min-confidence', choice('min-confidence', ['medium', 'low', 'high']));
  const rules = lines('only');
  if (rules.length) args.push(`--only=${rules.join(',')}`);
  fs.mkdirSync(path.dirname(sarif), { recursive: true });
  const ran = await run(input('binary', 'claviger'), [...args, folder], { show: true, cwd: folder });
  if (fs.existsSync(at('summary.md'))) summary(fs.readFileSync(at('summary.md'), 'utf8') + '\n');
  if (!fs.existsSync(at('report.json'))) throw new Told(ran.err || `the scan ended with status ${ran.status}`);
  const { findings } = JSON.parse(fs.readFileSync(at('report.json'), 'utf8'));
  const worst = SEVERITIES.slice(0, SEVERITIES.indexOf(failOn) + 1);
  const failing = findings.filter((found) => failOn === 'any' || worst.includes(found.severity)).length;
  output('findings', findings.length);
  output('failing', failing);
  output('sarif', sarif);
  output('report', at('report.json'));
  output('range', what.range ?? '');
  if (ran.status !== 0) throw new Told(`the scan is incomplete (status ${ran.status})${ran.err ? `: ${ran.err}` : ''}`);
  if (failing) throw new Told(`${failing} of ${findings.length} findings are at or above \`fail-on: ${failOn}\``);
}

/** The flags for what is to be scanned. */
async function wanted(scope, clone) {
  if (scope === 'files') return { flags: ['--no-history'] };
  const found = scope === 'history'
    ? await range('', {}, clone)
    : await range(process.env.GITHUB_EVENT_NAME ?? '', event(), clone);
  if (found.nothing || found.all) return { ...found, flags: [] };
  return { ...found, flags: ['--range', found.range, '--trust', found.trust] };
}

/** Nothing to scan is an answer, and says why. */
function nothing(why) {
  say('notice', `nothing to scan: ${why}`);
  for (const name of ['findings', 'failing']) output(name, 0);
  for (const name of ['sarif', 'report', 'range']) output(name, '');
}

main(scan);

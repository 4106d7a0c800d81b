// Verifies an audit log, then reports on it: into the step summary, and as a file for an artifact.
'use strict';

const path = require('node:path');
const { Told, choice, input, lines, main, output, required, run, say, summary, temporaryFolder } = require('../lib/runner.js');

async function report() {
  const log = required('log');
  if (log.startsWith('-')) throw new Told('input `log`: this is an option, not a log');
  const format = choice('format', ['html', 'markdown', 'json', 'text']);
  const failOn = choice('fail-on', ['tampering', 'anomalies']);
  const temporary = temporaryFolder();
  const keys = lines('key').map((key) => `--key=${key}`);
  const period = ['since', 'until'].filter((name) => input(name)).map((name) => `--${name}=${input(name)}`);
  const claviger = (...args) => run(input('binary', 'claviger'), ['audit', ...args]);

  const verified = await claviger('verify', log, ...keys, ...(input('pin') ? [`--pin=${input('pin')}`] : []));
  output('verified', String(verified.status === 0));
  const said = (verified.out.trim() || verified.err).replace(/`/g, "'");
  summary(`## Audit log: ${verified.status === 0 ? 'verified' : 'NOT verified'}\n\n\`\`\`text\n${said}\n\`\`\`\n\n`);
  // A log that does not verify is no ground for a report.
  if (verified.status !== 0) throw new Told(`${verified.status === 1 ? 'the log was tampered with or is damaged' : 'the log could not be checked'}: ${said}`);
  if (!keys.length) say('warning', 'without `key` the log\'s own word is taken for who may sign it: that shows integrity, not authenticity');

  const done = async (what, ran) => {
    if (ran.status !== 0) throw new Told(`${what}: ${ran.err}`);
    return ran.out;
  };
  const file = path.join(temporary, `claviger-audit.${{ markdown: 'md', text: 'txt' }[format] ?? format}`);
  await done('report', await claviger('report', log, ...keys, ...period, `--format=${format}`, `--output=${file}`));
  output('report', file);
  summary(`${await done('report', await claviger('report', log, ...keys, ...period, '--format=markdown'))}\n`);
  // Status 1 says that there are some.
  const ran = await claviger('anomalies', log, ...keys, ...period, '--format=jsonl');
  if (ran.status > 1 || ran.status === null) throw new Told(`anomalies: ${ran.err}`);
  const anomalies = ran.out.split('\n').filter(Boolean).length;
  output('anomalies', anomalies);
  if (anomalies) {
    say('warning', `${anomalies} anomalies: see the step summary`);
    if (failOn === 'anomalies') throw new Told(`${anomalies} anomalies, and \`fail-on: anomalies\``);
  }
}

main(report);

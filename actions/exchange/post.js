// After the job's other steps, however they ended: gives the lease back.
'use strict';

const { main, say, state } = require('../lib/runner.js');
const { giveBack } = require('./lease.js');

main(async () => {
  // Without a folder the step failed before it asked for anything.
  if (!state('folder')) return;
  say('notice', await giveBack(state('binary'), state('folder'), state('handle'), state('broker')));
});

// The daemon of the stock Guard, as `panguard-guard start --verbose` starts it, with two things around it:
//  - what it waits for an hour, a minute or half a minute lasts a second or two here (GUARD_CYCLE_MS for the hour);
//  - a line on stdin is a JSON event for its engine. Nothing in the 1.4.5 package makes events of agents by itself:
//    integrators hand them to `GuardEngine.processEvent`, which is what happens here.
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const CYCLE = Number(process.env.GUARD_CYCLE_MS ?? 2_000);
const SHORTER = new Map([[3_600_000, CYCLE], [60_000, 1_000], [30_000, 1_000]]);
const { setInterval, setTimeout } = globalThis;
globalThis.setInterval = (call, wait, ...rest) => setInterval(call, SHORTER.get(wait) ?? wait, ...rest);
globalThis.setTimeout = (call, wait, ...rest) => setTimeout(call, SHORTER.get(wait) ?? wait, ...rest);

const main = `${process.env.CLIENT_PACKAGES}/@panguard-ai/panguard-guard/dist/index.js`;
const { GuardEngine, runCLI } = await import(pathToFileURL(main).href);

let engine;
const start = GuardEngine.prototype.start;
GuardEngine.prototype.start = function () {
  engine = this;
  return start.call(this);
};

await runCLI(['start', '--verbose', '--data-dir', process.argv[2]]);
createInterface({ input: process.stdin }).on('line', (line) => engine.processEvent(JSON.parse(line)));

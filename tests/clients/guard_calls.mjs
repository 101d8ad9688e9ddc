// Calls of the `ThreatCloudClient` that the stock Guard exports: [[method, ...arguments], ...] in, results out.
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const main = `${process.env.CLIENT_PACKAGES}/@panguard-ai/panguard-guard/dist/index.js`;
const { ThreatCloudClient } = await import(pathToFileURL(main).href);

const { endpoint, key, calls } = JSON.parse(readFileSync(0, 'utf8'));
const client = new ThreatCloudClient(endpoint, process.env.HOME, key);
const results = [];
for (const [method, ...given] of calls) results.push((await client[method](...given)) ?? null);
client.stopFlushTimer();
process.stdout.write(JSON.stringify(results));

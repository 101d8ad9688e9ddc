// What the newest Guards (1.7.0 to 1.9.0, none of which is published on npm) ask of rules before they load them, written
// from a description of them and none of their code; and plain POSTs, to send what only they send.
//
// {url, key, path, known, posts: [[path, body], ...]} in; {outcomes: {ruleId: reason or ""}, loaded: [...], posts: [...]}
// out. `known` are ids that the Guard brings along. PANGUARD_RULE_PUBKEY holds the PEM, as it does for a Guard.
import { createPublicKey, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';

const CHUNK = 1024;
const MAX_PATTERN = 2000;
const MAX_RULES = 500;

const { url, key, path, known, posts } = JSON.parse(readFileSync(0, 'utf8'));

function call(method, where, body) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  if (body !== undefined) {
    headers['Content-Type'] = 'application/json';
    headers['Content-Length'] = Buffer.byteLength(body);
  }
  return new Promise((resolve, reject) => {
    const sent = request(url + where, { method, headers }, (answer) => {
      let data = '';
      answer.on('data', (bytes) => { // each chunk is decoded alone, as small as a network may make it
        for (let at = 0; at < bytes.length; at += CHUNK) data += bytes.subarray(at, at + CHUNK).toString();
      });
      answer.on('end', () => resolve({ status: answer.statusCode, data }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

// Is a group that is repeated without bound one that itself repeats without bound?
function nests(pattern) {
  const open = [];
  let last = false; // did the group that has just been closed repeat inside?
  let closed = false;
  for (let i = 0; i < pattern.length; i += 1) {
    const char = pattern[i];
    if (char === '\\') i += 1;
    else if (char === '[') {
      for (i += 1; i < pattern.length && pattern[i] !== ']'; i += 1) if (pattern[i] === '\\') i += 1;
    } else if (char === '(') open.push(false);
    else if (char === ')') {
      last = open.pop() ?? false;
      closed = true;
      if (last && open.length) open[open.length - 1] = true;
      continue;
    } else if (char === '+' || char === '*' || /^\{\d+,\}/.test(pattern.slice(i))) {
      if (closed && last) return true;
      if (open.length) open[open.length - 1] = true;
    }
    closed = false;
  }
  return false;
}

function dropped(item, ids, publicKey) {
  const signature = Buffer.from(item.signature ?? '', 'base64');
  if (!verify(null, Buffer.from(item.ruleContent, 'utf8'), publicKey, signature)) return 'signature';
  let rule;
  try {
    rule = JSON.parse(item.ruleContent);
  } catch {
    return 'not JSON';
  }
  if (!(rule.id && rule.title && rule.detection && rule.agent_source?.type)) return 'fields';
  if (ids.has(rule.id)) return 'known id';
  for (const { operator, value } of rule.detection.conditions ?? []) {
    if (operator !== 'regex') continue;
    if (value.length > MAX_PATTERN) return 'long pattern';
    try {
      new RegExp(value);
    } catch {
      return 'does not compile';
    }
    if (nests(value)) return 'nested quantifier';
  }
  ids.add(rule.id);
  return '';
}

const { status, data } = await call('GET', path);
if (status !== 200) throw new Error(`${status}: ${data.slice(0, 200)}`);
const publicKey = createPublicKey(process.env.PANGUARD_RULE_PUBKEY);
const ids = new Set(known);
const outcomes = {};
const loaded = [];
for (const item of JSON.parse(data).data) {
  outcomes[item.ruleId] = dropped(item, ids, publicKey);
  if (outcomes[item.ruleId] === '' && loaded.length < MAX_RULES) loaded.push(item.ruleId);
}
const answers = [];
for (const [where, body] of posts) {
  const answer = await call('POST', where, JSON.stringify(body));
  answers.push([answer.status, answer.data]);
}
process.stdout.write(JSON.stringify({ outcomes, loaded, posts: answers }));

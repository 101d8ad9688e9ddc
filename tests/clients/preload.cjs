// Preloaded into every client under test.
'use strict';
const net = require('node:net');

// Whatever it wants from anywhere but loopback fails, and nothing is sent.
const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function (...args) {
  const given = Array.isArray(args[0]) ? args[0][0] : args[0];
  const options = typeof given === 'object' ? given : { host: args[1] };
  const host = options.path ? 'localhost' : (options.host ?? 'localhost');
  if (!/^(localhost|127\.\d+\.\d+\.\d+|::1)$/.test(host)) {
    process.nextTick(() => this.destroy(new Error(`this test keeps clients off ${host}`)));
    return this;
  }
  return connect.apply(this, args);
};

// `pga audit skill` of 1.4.7 never ends by itself: the minute of its upload timer begins again and again. So for it, a
// timer is no reason to live on; a request under way still is.
if (process.env.END_IN_SPITE_OF_TIMERS) {
  const { setInterval, setTimeout } = globalThis;
  globalThis.setInterval = (...args) => setInterval(...args).unref();
  globalThis.setTimeout = (...args) => setTimeout(...args).unref();
}

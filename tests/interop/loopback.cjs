// node --require loopback.cjs EMULATOR: keeps an emulator on the loopback, and alive.
//
// kinesalite and kinesis-mock have no option for the address they listen on: they take all. And a
// client that drops its connection, which a killed consumer does, must not take them down:
// kinesalite rethrows the aborted request and exits; kinesis-mock reads the remote address of a
// socket that was reset, and closes its listener. Nothing of what they answer is changed here.
const net = require('net');

const LOOPBACK = '127.0.0.1';
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (...args) {
  const [first, second] = args;
  if (first !== null && typeof first === 'object') {
    const isSocketOfANetwork = first.path === undefined && first.fd === undefined;
    if (isSocketOfANetwork) args[0] = { ...first, host: LOOPBACK };
  } else if (/^\d+$/.test(String(first))) {
    const namesAHost = typeof second === 'string' || (args.length > 1 && second == null);
    args.splice(1, namesAHost ? 1 : 0, LOOPBACK);
  }
  return listen.apply(this, args);
};

const ADDRESSES = ['remoteAddress', 'remotePort', 'remoteFamily', 'localAddress', 'localPort', 'localFamily'];
const emit = net.Server.prototype.emit;
net.Server.prototype.emit = function (event, socket, ...rest) {
  if (event === 'connection' && socket instanceof net.Socket) {
    socket.on('error', () => {});
    if (socket.remoteAddress === undefined || socket.destroyed) {
      socket.destroy();
      return true;
    }
    for (const name of ADDRESSES) {
      const value = socket[name];
      Object.defineProperty(socket, name, { value, configurable: true, writable: true, enumerable: true });
    }
  }
  return emit.call(this, event, socket, ...rest);
};

process.on('uncaughtException', (error) => {
  const isClientGone = error && (['ECONNRESET', 'EPIPE'].includes(error.code) || error.message === 'aborted');
  if (isClientGone) {
    console.error('loopback.cjs: a client went away:', error.message);
    return;
  }
  console.error('loopback.cjs: fatal:', error);
  process.exit(1);
});

/**
 * Opens connections whose peers keep a server waiting, and opens each again when the server has
 * ended it. The arguments are a port, the number of connections, the milliseconds of an interval,
 * what each connection sends at once, what it sends after each interval, `read` or `unread`, and
 * `one`, `many` (addresses), or the PEM files for TLS. Prints a line when each connection was
 * attempted once.
 */

import { connect, type Socket } from "node:net";

const [port, count, interval, start = "", drip = "", reading, ...files] = Deno.args;
const connectionCount = Number(count);
const dripMilliseconds = Number(interval);
const REOPEN_MILLISECONDS = 50;
const encoder = new TextEncoder();

/** Resolves when the connection has ended. */
async function keepTlsOpen(onOpen: () => void): Promise<void> {
  const [cert, key, ca] = files.map((path) => Deno.readTextFileSync(path));
  const options = { hostname: "127.0.0.1", port: Number(port), caCerts: [ca!] };
  const conn = await Deno.connectTls({ ...options, cert: cert!, key: key! });
  onOpen();
  const timer = setInterval(() => conn.write(encoder.encode(drip)).catch(end), dripMilliseconds);
  const ended = Promise.withResolvers<void>();
  function end() {
    ended.resolve();
  }
  await conn.write(encoder.encode(start));
  if (reading === "read") conn.read(new Uint8Array(1)).then(end, end);
  await ended.promise;
  clearInterval(timer);
  conn.close();
}

/** Resolves when the connection has ended. */
async function keepOpen(index: number, onOpen: () => void): Promise<void> {
  const localAddress = files[0] === "many" ? `127.0.1.${index + 1}` : "127.0.0.1";
  const socket: Socket = connect({ host: "127.0.0.1", port: Number(port), localAddress }, () => {
    onOpen();
    socket.write(start);
    if (reading === "read") socket.resume();
  });
  const timer = setInterval(() => socket.write(drip), dripMilliseconds);
  await new Promise((resolve) => {
    for (const event of ["error", "end", "close"]) socket.once(event, resolve);
  });
  clearInterval(timer);
  socket.on("error", () => {});
  socket.destroy();
}

let attemptCount = 0;
for (let index = 0; index < connectionCount; index++) {
  void (async () => {
    for (let attempt = 0;; attempt++) {
      const onOpen = () =>
        attempt === 0 && ++attemptCount === connectionCount && console.log("open");
      await (files.length > 1 ? keepTlsOpen(onOpen) : keepOpen(index, onOpen)).catch(onOpen);
      await new Promise((resolve) => setTimeout(resolve, REOPEN_MILLISECONDS));
    }
  })();
}

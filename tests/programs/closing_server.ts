/**
 * A worker with a server that closes each connection after one response, when the thread that has
 * started the worker sets the shared value to 1. After the close, the value is 0. Unless the path
 * of the request is `/silent`, a 408 comes before the close.
 */
const CLOSE = 1, CLOSED = 0;

async function serve(conn: Deno.Conn, state: Int32Array<SharedArrayBuffer>): Promise<void> {
  const encoder = new TextEncoder();
  const request = new Uint8Array(65536);
  const count = await conn.read(request) ?? 0;
  const isSilent = new TextDecoder().decode(request.subarray(0, count)).includes(" /silent ");
  await conn.write(encoder.encode("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
  Atomics.wait(state, 0, CLOSED);
  const late = "HTTP/1.1 408 Late\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
  if (!isSilent) await conn.write(encoder.encode(late));
  conn.close();
  Atomics.compareExchange(state, 0, CLOSE, CLOSED);
  Atomics.notify(state, 0);
}

globalThis.addEventListener("message", async (event: Event) => {
  const state = (event as MessageEvent<Int32Array<SharedArrayBuffer>>).data;
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  // A worker has this function of a port.
  (globalThis as unknown as MessagePort).postMessage(listener.addr.port);
  for await (const conn of listener) await serve(conn, state);
});

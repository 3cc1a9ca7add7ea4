/**
 * Sends a 408 after the response to the first request of a connection, and closes. The path of the
 * request is the time between them in milliseconds.
 */
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
console.log(listener.addr.port);

async function serve(conn: Deno.Conn): Promise<void> {
  const encoder = new TextEncoder();
  const request = new Uint8Array(65536);
  await conn.read(request);
  const delay = Number(/\/(\d+)/.exec(new TextDecoder().decode(request))![1]);
  await conn.write(encoder.encode("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
  await new Promise((resolve) => setTimeout(resolve, delay));
  const late = "HTTP/1.1 408 Late\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
  await conn.write(encoder.encode(late));
  conn.close();
}

for await (const conn of listener) serve(conn).catch(() => {});

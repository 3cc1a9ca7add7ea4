/** Sends, 10 ms after the response to the first request of a connection, a 408, and closes. */
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
console.log(listener.addr.port);

async function serve(conn: Deno.Conn): Promise<void> {
  const encoder = new TextEncoder();
  await conn.read(new Uint8Array(65536));
  await conn.write(encoder.encode("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
  await new Promise((resolve) => setTimeout(resolve, 10));
  const late = "HTTP/1.1 408 Late\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
  await conn.write(encoder.encode(late));
  conn.close();
}

for await (const conn of listener) serve(conn).catch(() => {});

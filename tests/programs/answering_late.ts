/**
 * Closes after the response to the first request of a connection. The path of the request is the
 * time between them in milliseconds; unless it ends with `silent`, a 408 comes before the close.
 */
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
console.log(listener.addr.port);

async function serve(conn: Deno.Conn): Promise<void> {
  const encoder = new TextEncoder();
  const request = new Uint8Array(65536);
  await conn.read(request);
  const [, delay, silent] = /\/(\d+)(\/silent)?/.exec(new TextDecoder().decode(request))!;
  await conn.write(encoder.encode("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
  await new Promise((resolve) => setTimeout(resolve, Number(delay)));
  const late = "HTTP/1.1 408 Late\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
  if (silent === undefined) await conn.write(encoder.encode(late));
  conn.close();
}

for await (const conn of listener) serve(conn).catch(() => {});

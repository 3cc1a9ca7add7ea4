/** Every wait inside a body has a time limit, wherever in the coding the peer stops. */
import { assertEquals, assertRejects } from "@std/assert";
import type { BodyIn } from "@degu/degu/base";
import { ChunkedBody } from "@degu/degu/base";
import { connect } from "@degu/testing/connected.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { serve } from "@degu/testing/serving.ts";

const TIMEOUT = 0.2;
const CODING = "5;k=v\r\nhello\r\n0\r\n\r\n";

const waysOfReading: Record<string, (body: ChunkedBody) => Promise<unknown>> = {
  "read": (body) => body.read(),
  "readChunk": async (body) => {
    while ((await body.readChunk())[1].length > 0);
  },
  "readable": (body) => new Response(body.readable).bytes(),
  "writeTo": (body) => body.writeTo(new WritableStream()),
};

function chunked(body: BodyIn): ChunkedBody {
  if (!(body instanceof ChunkedBody)) throw new TypeError("need a chunked body");
  return body;
}

for (const [name, read] of Object.entries(waysOfReading)) {
  Deno.test(`server: ${name} of a body times out wherever the peer stops`, async () => {
    const errors: unknown[] = [];
    await using serving = serve(async (request) => {
      await read(chunked(request.body)).catch((error) => errors.push(error));
      return [200, "OK", {}, null];
    }, { timeout: TIMEOUT });
    const stops = Array.from(CODING, (_, length) => CODING.slice(0, length));
    await Promise.all(stops.map(async (start) => {
      using peer = await RawPeer.connect(serving.address);
      await peer.send(`PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n${start}`);
      await peer.assertClosedSilently();
    }));
    assertEquals(errors.length, CODING.length);
    assertEquals(errors.every((error) => error instanceof Deno.errors.TimedOut), true);
  });

  Deno.test(`client: ${name} of a body times out wherever the peer stops`, async () => {
    const stops = Array.from(CODING, (_, length) => CODING.slice(0, length));
    await Promise.all(stops.map(async (start) => {
      using connected = await connect({ timeout: TIMEOUT });
      const { body } = await connected.answer(
        `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${start}`,
      );
      await assertRejects(() => read(chunked(body)), Deno.errors.TimedOut);
      assertEquals(connected.conn.closed, true);
    }));
  });
}

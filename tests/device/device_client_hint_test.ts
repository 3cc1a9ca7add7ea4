/** The errors of a client of a peer: the likely cause, and what to do. */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { EmptyPreambleError, formatAddress, TlsError } from "@degu/degu/base";
import { SSLServer } from "@degu/degu/server";
import { makeAuthority, makeLeaf } from "@degu/testing/authorities.ts";
import { readAuthorityText } from "@degu/internal/identity/authority.ts";
import { assertWorks, hello, LOOPBACK, setUpClient } from "@degu/testing/device_clients.ts";
import { storeOf } from "@degu/testing/device_pairs.ts";

Deno.test("if nobody listens at a stored address, the error says so, and what to do", async () => {
  await using setup = await setUpClient();
  const [one, two] = [await setup.dead(), await setup.dead()];
  await setup.at([one, two]);
  const client = await setup.viewer.client("camera");
  const error = await assertRejects(
    () => client.request("GET", "/"),
    Deno.errors.ConnectionRefused,
  );
  const { message } = error;
  for (const address of [one, two]) assert(message.includes(formatAddress(address)), message);
  assertMatch(message, /"camera" doesn't serve at its stored addresses/);
  assertMatch(message, /start its server, pass the option addresses, or pair the two again/);
  assertInstanceOf(error.cause, AggregateError);
  assertEquals(error.cause.errors.length, 2);
});

Deno.test("if nobody listens at a given address, the error says so without mentioning the entry", async () => {
  await using setup = await setUpClient();
  const address = await setup.dead();
  const client = await setup.viewer.client("camera", { addresses: [address] });
  const { message } = await assertRejects(
    () => client.connect(),
    Deno.errors.ConnectionRefused,
  );
  const where = `"camera" doesn't serve at the given address ${formatAddress(address)}`;
  assert(message.includes(where), message);
  assert(!message.includes("stored"), message);
});

Deno.test("if nobody answers in time, the error says so in the same way", async () => {
  await using setup = await setUpClient();
  const addresses = [setup.mute().address];
  const client = await setup.viewer.client("camera", { addresses, timeout: 0.2 });
  const error = await assertRejects(() => client.connect(), Deno.errors.TimedOut);
  assertMatch(error.message, /"camera" doesn't serve at the given address/);
});

Deno.test("every way to connect reports that the peer has forgotten this device", async () => {
  await using setup = await setUpClient();
  const { camera, viewer } = setup;
  const client = await viewer.client("camera");
  await assertWorks(client);
  await camera.forget("viewer");
  for (
    const ask of [
      () => client.request("GET", "/"),
      async () => {
        using connection = await client.connect();
        return await connection.get("/");
      },
    ]
  ) {
    const error = await assertRejects(ask, EmptyPreambleError);
    assertMatch(error.message, /"camera" has probably forgotten this device: pair the two again/);
  }
});

Deno.test("a peer that refuses with an alert is reported to have forgotten this device", async () => {
  await using setup = await setUpClient();
  const { viewer } = setup;
  const [camera, stranger] = [await makeAuthority(), await makeAuthority()];
  const leaf = await makeLeaf(camera);
  // What a device in another language may do: it refuses in the handshake.
  await using server = new SSLServer(
    { ca: stranger.pem, cert: leaf.pem, key: leaf.keyPem },
    LOOPBACK,
    hello,
  );
  server.serveForever();
  await server.ready;
  const authority = await readAuthorityText(camera.pem);
  const store = await storeOf(viewer.dir);
  await store.record({ authority, receivedName: "rover", addresses: [server.address] });
  const client = await viewer.client("rover");
  const error = await client.request("GET", "/").then(() => null, (error) => error);
  assert(error instanceof EmptyPreambleError || error instanceof TlsError, String(error));
  if (error instanceof TlsError) assertEquals(error.code, "REFUSED_BY_PEER");
  assertMatch(error.message, /"rover" has probably forgotten this device/);
});

Deno.test("a connection that ends after a response is not reported as forgotten", async () => {
  await using setup = await setUpClient();
  const client = await setup.viewer.client("camera");
  using connection = await client.connect();
  const response = await connection.get("/");
  await response.body?.bytes();
  setup.server.close();
  const error = await connection.get("/").then(() => null, (error) => error);
  assertInstanceOf(error, Error);
  assert(!error.message.includes("forgotten"), error.message);
});

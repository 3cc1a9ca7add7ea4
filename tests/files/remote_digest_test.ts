/** Digests of files on another device. */
import { assertEquals, assertRejects } from "@std/assert";
import { remoteDigest, TransferError } from "@degu/degu/files";
import { randomBytes, serveFiles, sha256 } from "@degu/testing/transferring.ts";

Deno.test("the server hashes a file without transferring it", async () => {
  await using files = await serveFiles();
  const content = randomBytes(3_000_000);
  await Deno.writeFile(`${files.there}/a`, content);
  using connection = await files.client.connect();
  assertEquals(await remoteDigest(connection, "/a"), await sha256(content));
  assertEquals(await remoteDigest(files.client, "/a"), await sha256(content));
  const error = await assertRejects(() => remoteDigest(files.client, "/b"), TransferError);
  assertEquals(error.status, 404);
});

Deno.test("a server that does not send the digest is named", async () => {
  await using files = await serveFiles(() => () => [200, "OK", {}, null]);
  const error = await assertRejects(() => remoteDigest(files.client, "/a"), TransferError);
  assertEquals(error.code, "UNEXPECTED_RESPONSE");
  const problem = 'HEAD "/a": the server has no SHA-256 of it (repr-digest, RFC 9530)';
  assertEquals(error.message, problem);
});

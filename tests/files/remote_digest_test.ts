/** Which version of a file another device has. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Response } from "@degu/degu/base";
import { remoteDigest, TransferError } from "@degu/degu/files";
import { readDigest, versionOf } from "@degu/internal/files/remote_digest.ts";
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

/** A response with this digest, if any. */
function responseWith(digest?: string): Response {
  return new Response(200, "OK", digest === undefined ? {} : { "repr-digest": digest }, null);
}

Deno.test("the SHA-256 of a response is read, if it has one", () => {
  const zeros = `sha-256=:${"A".repeat(43)}=:`;
  assertEquals(readDigest("GET", "/a", responseWith(zeros)), "0".repeat(64));
  assertEquals(readDigest("GET", "/a", responseWith()), null);
  assertEquals(readDigest("GET", "/a", responseWith("sha-512=:AA==:")), null);
});

Deno.test("a malformed digest is an error that says where it came from", () => {
  for (const digest of ["", "sha-256", "sha-256=:AA==:", "sha-256=0"]) {
    const read = () => readDigest("HEAD", "/a b", responseWith(digest));
    const error = assertThrows(
      read,
      TransferError,
      'HEAD "/a b": the response has an invalid repr-digest',
    );
    assertEquals([error.code, error.cause instanceof RangeError], ["UNEXPECTED_RESPONSE", true]);
  }
});

Deno.test("a version has a strong entity tag, or none", () => {
  for (const [etag, expected] of [['"a"', '"a"'], ['W/"a"', null], [undefined, null]] as const) {
    const headers = etag === undefined ? {} : { etag };
    const version = versionOf("GET", "/a", new Response(200, "OK", headers, null));
    assertEquals(version, { etag: expected, sha256: null });
  }
});

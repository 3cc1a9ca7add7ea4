/** Caches in front of a FilesApp: no old response, and a response of a cache is named. */
import type { HeadersToSend } from "@degu/degu/base";
import type { AppFunction } from "@degu/degu/server";
import { mkreq } from "@degu/degu/misc";
import { deleteEntry, FilesApp, remoteDigest, upload, uploadTree } from "@degu/files";
import { fill, readTree } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { streamOf } from "@degu/testing/streams.ts";
import { assertTransferError, serveFiles, serveFilesApp } from "@degu/testing/transferring.ts";
import { assert, assertEquals } from "@std/assert";

const WANT = { "want-repr-digest": "sha-256=10" };
const STATE = { "upload-version": "1", "upload-length": "7" };

Deno.test("a cache must ask before it reuses a response, and stores no digest and no state", async () => {
  await using files = await serveFilesApp({ write: true, list: true });
  await fill(files.serverDir, { f: "content", "d/f": "" });
  const rows: readonly [uri: string, headers: HeadersToSend, status: number, directive: string][] =
    [
      ["/f", {}, 200, "no-cache"],
      ["/f", { "if-none-match": "*" }, 304, "no-cache"],
      ["/none", {}, 404, "no-cache"],
      ["/d", {}, 301, "no-cache"],
      ["/", {}, 200, "no-cache"],
      ["/f", WANT, 200, "no-store"],
      ["/f", STATE, 200, "no-store"],
      ["/f", { "upload-complete": "?1" }, 200, "no-store"],
    ];
  for (const [uri, headers, status, directive] of rows) {
    for (const method of ["GET", "HEAD"] as const) {
      const response = await files.client.request(method, uri, headers);
      await response.body?.bytes();
      const { "cache-control": cacheControl, vary } = response.headers;
      const label = `${method} ${uri} ${JSON.stringify(headers)}`;
      assertEquals([response.status, cacheControl], [status, directive], label);
      for (const name of Object.keys(headers)) {
        if (!/^(if-|upload-version)/.test(name)) assert(`${vary}`.includes(name), label);
      }
    }
  }
  const { headers } = await files.client.request("DELETE", "/f");
  assertEquals(headers["cache-control"], undefined);
});

/** Serves a directory behind a cache that sends HEAD as GET. */
function serveBehindConvertingCache() {
  return serveFiles((dir) => {
    const app = new FilesApp(dir, { write: true, list: true });
    return (request, session, api) => {
      const forwarded = request.method === "HEAD"
        ? mkreq("GET", request.uri, request.headers)
        : request;
      return app.handle(forwarded, session, api);
    };
  });
}

Deno.test("uploads and deletions work if a cache sends HEAD as GET", async () => {
  await using files = await serveBehindConvertingCache();
  const { client, clientDir, serverDir } = files;
  const large = "x".repeat(100_000);
  await fill(clientDir, { f: "content", "d/small": "1", "d/large": large });
  await upload(client, `${clientDir}/f`, "/f");
  await upload(client, `${clientDir}/f`, "/f");
  await upload(client, streamOf(new TextEncoder().encode("stream")), "/s");
  await uploadTree(client, `${clientDir}/d`, "/d/");
  const { [".degu-files"]: _, ...tree } = await readTree(serverDir);
  assertEquals(tree, { f: "content", s: "stream", d: null, "d/small": "1", "d/large": large });
  await deleteEntry(client, "/f");
  assertEquals((await readTree(serverDir)).f, undefined);
});

Deno.test("a missing digest is the fault of a cache, unless the file has changed", async () => {
  await using files = await serveBehindConvertingCache();
  await fill(files.serverDir, { f: "content" });
  const call = () => remoteDigest(files.client, "/f");
  await assertTransferError(call, "UNEXPECTED_RESPONSE", "a cache in front of the server may have");

  const content = new TextEncoder().encode("content");
  let heads = 0;
  const app: AppFunction = ({ method }) => {
    const stamp = { "file-stamp": `7,2026-01-02T03:04:05.678Z,${method === "HEAD" ? ++heads : 0}` };
    return [200, "OK", stamp, content];
  };
  await using serving = serve(app);
  await assertTransferError(() => remoteDigest(serving.makeClient(), "/f"), "CHANGED");
});

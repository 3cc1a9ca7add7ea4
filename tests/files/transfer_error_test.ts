/** Errors of transfers: their codes, and what they say. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { download, TransferError } from "@degu/degu/files";
import { entries, tempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";

Deno.test("the error for a status says what was requested and what to do, and the connection stays usable", async () => {
  const hints: [number, string, string][] = [
    [301, "Moved Permanently", "is a directory"],
    [400, "Bad Request", "did not accept"],
    [403, "Forbidden", "may not read"],
    [404, "Not Found", "there is no such file, or it is not for this client"],
    [405, "Method Not Allowed", "not a FilesApp"],
    [412, "Precondition Failed", "the file already exists"],
    [418, "Teapot", "is it a FilesApp"],
    [500, "Internal Server Error", "check its log"],
    [206, "Partial Content", "is it a FilesApp"],
  ];
  let answer: [number, string] = [200, "OK"];
  await using serving = serve(() => [...answer, {}, new TextEncoder().encode("why")]);
  await using dir = await tempDir();
  const client = serving.makeClient();
  for (const [status, reason, hint] of hints) {
    answer = [status, reason];
    using conn = await client.connect();
    const failed = () => download(conn, "/a/b", `${dir.path}/f`);
    const error = await assertRejects(failed, TransferError, hint);
    assert(!error.message.includes("list"), error.message);
    assertEquals([error.name, error.code, error.status], ["TransferError", "STATUS", status]);
    assert(
      error.message.includes(`GET "/a/b"`) && error.message.includes(`${status} ${reason}`),
      error.message,
    );
    assertEquals([conn.closed, await entries(dir.path)], [false, []]);
  }
});

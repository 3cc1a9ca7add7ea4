/** upload: files that change, calls that are aborted, and responses of other servers. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { HeaderDict } from "@degu/degu/base";
import { FilesApp } from "@degu/degu/files";
import type { AppFunction } from "@degu/degu";
import { TransferError, upload } from "@degu/degu/files";
import { tempDir } from "@degu/testing/directories.ts";
import { serve } from "@degu/testing/serving.ts";
import { randomBytes, serveFiles, visible } from "@degu/testing/transferring.ts";

const SIZE = 20_000_000;

/** An app before a FilesApp that does something once some of a body has arrived. */
function interfering(dir: string, interfere: () => Promise<void> | void): AppFunction {
  const app = new FilesApp(dir, { write: true });
  return async (request, session, api) => {
    if (request.method === "PUT") await interfere();
    return await app.handle(request, session, api);
  };
}

async function overwrite(path: string, at: number): Promise<void> {
  using file = await Deno.open(path, { write: true });
  await file.seek(at, Deno.SeekMode.Start);
  await file.write(new Uint8Array(10));
}

Deno.test("a file that changes while it is sent is a clear error, and not visible at the server", async (t) => {
  const changes: Record<string, (path: string) => Promise<void>> = {
    "overwritten at its end": (path) => overwrite(path, SIZE - 10),
    "overwritten at its beginning": (path) => overwrite(path, 0),
    "cut": (path) => Deno.truncate(path, 1000),
  };
  for (const [name, change] of Object.entries(changes)) {
    for (const options of [{}, { verify: false }]) {
      await t.step(`${name}, ${JSON.stringify(options)}`, async () => {
        let path = "";
        await using files = await serveFiles((dir) => interfering(dir, () => change(path)));
        path = `${files.here}/file`;
        await Deno.writeFile(path, randomBytes(SIZE));
        await Deno.utime(path, new Date(1e12), new Date(1e12));
        const failed = () => upload(files.client, path, "/copy", options);
        const error = await assertRejects(failed, TransferError, "changed while it was moved");
        assertEquals(error.code, "CHANGED");
        assert(error.message.includes(path), error.message);
        assertEquals(await visible(files.there), []);
      });
    }
  }
});

Deno.test("data that is appended to a file while it is sent is ignored", async () => {
  let path = "";
  const append = () => Deno.writeFile(path, new Uint8Array(100), { append: true });
  await using files = await serveFiles((dir) => interfering(dir, append));
  path = `${files.here}/file`;
  const content = randomBytes(SIZE);
  await Deno.writeFile(path, content);
  assertEquals((await upload(files.client, path, "/copy")).total, SIZE);
  assert((await Deno.readFile(`${files.there}/copy`)).every((byte, i) => byte === content[i]));
});

Deno.test("a signal aborts an upload with its reason, and the next call resumes it", async () => {
  const controller = new AbortController();
  const reason = new Error("enough");
  await using files = await serveFiles((dir) => interfering(dir, () => controller.abort(reason)));
  const path = `${files.here}/file`;
  await Deno.writeFile(path, randomBytes(SIZE));
  const { signal } = controller;
  assertEquals(
    await assertRejects(() => upload(files.client, path, "/f", { signal }), Error),
    reason,
  );
  assertEquals(await visible(files.there), []);
  const { total, sha256 } = await upload(files.client, path, "/f");
  assertEquals([total, sha256?.length], [SIZE, 64]);
});

// ───────────────────────── answers

interface Answers {
  readonly head?: [number, HeaderDict];
  readonly put?: [number, HeaderDict];
}

const OFFSET = { "upload-offset": "0" };

async function uploadTo(answers: Answers): Promise<TransferError> {
  await using serving = serve(async ({ method, body, headers }) => {
    await body?.bytes();
    const echo = { "repr-digest": `${headers["repr-digest"]}` };
    const [status, fields] = (method === "HEAD" ? answers.head : answers.put) ??
      (method === "HEAD" ? [200, OFFSET] : [201, echo]);
    return [status, "Answer", fields, method === "HEAD" ? null : new Uint8Array(3)];
  });
  await using dir = await tempDir();
  await Deno.writeTextFile(`${dir.path}/f`, "hello");
  const uploading = () => upload(serving.makeClient(), `${dir.path}/f`, "/f");
  return await assertRejects(uploading, TransferError);
}

Deno.test("responses of other servers are refused if they are not reliable", async () => {
  const refused: [Answers, string, string][] = [
    [{ head: [200, {}] }, "UNEXPECTED_RESPONSE", "write: true"],
    [{ head: [200, { "upload-offset": "6" }] }, "UNEXPECTED_RESPONSE", "how much"],
    [{ head: [200, { "upload-offset": "-1" }] }, "UNEXPECTED_RESPONSE", "how much"],
    [{ head: [200, { "upload-offset": "01" }] }, "UNEXPECTED_RESPONSE", "how much"],
    [{ head: [404, {}] }, "STATUS", "write: true"],
    [{ head: [301, {}] }, "STATUS", "301"],
    [{ put: [201, {}] }, "UNEXPECTED_RESPONSE", "verify: false"],
    [
      { put: [201, { "repr-digest": "sha-256=:AA==:" }] },
      "UNEXPECTED_RESPONSE",
      "invalid repr-digest",
    ],
    [
      { put: [201, { "repr-digest": `sha-256=:${"A".repeat(43)}=:` }] },
      "DIGEST_MISMATCH",
      "SHA-256",
    ],
    [{ put: [200, {}] }, "STATUS", "200"],
    [{ put: [400, {}] }, "STATUS", "may have changed"],
    [{ put: [403, {}] }, "STATUS", "may not write"],
    [{ put: [405, {}] }, "STATUS", "write: true"],
    [{ put: [409, {}] }, "STATUS", "directory is in the way"],
    [{ put: [409, OFFSET] }, "STATUS", "another part"],
    [{ put: [412, {}] }, "STATUS", "the file already exists"],
    [{ put: [413, {}] }, "STATUS", "maxBytes"],
    [{ put: [503, {}] }, "STATUS", "its log"],
    [{ put: [507, {}] }, "STATUS", "no space left"],
  ];
  for (const [answers, code, message] of refused) {
    const error = await uploadTo(answers);
    assertEquals(error.code, code, error.message);
    assert(error.message.includes(message) && error.message.includes('"/f"'), error.message);
    const [status] = answers.put ?? answers.head!;
    assertEquals(error.status, code === "STATUS" ? status : null);
  }
});

Deno.test("a different offset is used once", async () => {
  const offsets: string[] = [];
  let conflicts = 1;
  await using serving = serve(async ({ method, body, headers }) => {
    const bytes = await body?.bytes();
    if (method === "HEAD") return [200, "OK", { "upload-offset": "4" }, null];
    offsets.push(`${headers["upload-offset"]} ${bytes?.length}`);
    if (conflicts-- > 0) return [409, "Conflict", { "upload-offset": "2" }, new Uint8Array(0)];
    return [201, "Created", { "repr-digest": `${headers["repr-digest"]}` }, new Uint8Array(0)];
  });
  await using dir = await tempDir();
  const file = `${dir.path}/f`;
  await Deno.writeTextFile(file, "hello");
  const result = await upload(serving.makeClient(), file, "/f");
  assertEquals([result.bytes, result.resumedFrom, offsets], [3, 2, ["4 1", "2 3"]]);
  conflicts = 1;
  using conn = await serving.makeClient().connect();
  assertEquals((await upload(conn, file, "/f")).resumedFrom, 2);
  conflicts = 2;
  const failed = () => upload(serving.makeClient(), file, "/f");
  assertEquals((await assertRejects(failed, TransferError)).status, 409);
});

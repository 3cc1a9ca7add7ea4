/** Options of transfers, and their progress: how often it is reported, and what it counts. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { download, type TransferProgress } from "@degu/degu/files";
import { checkTransfer } from "@degu/internal/files/options.ts";
import { ServedVersion } from "@degu/testing/served_version.ts";
import { serve } from "@degu/testing/serving.ts";
import { randomBytes, serveFiles } from "@degu/testing/transferring.ts";

Deno.test("options have defaults, and are copied", () => {
  const defaults = checkTransfer("/a", "f", {});
  assertEquals(defaults, {
    resume: true,
    verify: true,
    replace: true,
    modified: null,
    onProgress: undefined,
    signal: undefined,
  });
  assertEquals(checkTransfer("/a", "f", { resume: undefined, verify: undefined }), defaults);
  const modified = new Date(1e12);
  const given = { resume: false, verify: false, replace: false, modified };
  const { signal } = new AbortController();
  const onProgress = () => {};
  const settings = checkTransfer("/a", "f", { ...given, signal, onProgress });
  assertEquals({ ...settings }, { ...given, signal, onProgress });
  modified.setTime(0);
  assertEquals(settings.modified?.getTime(), 1e12);
});

Deno.test("invalid options are named", () => {
  type Case = [
    uri: unknown,
    file: unknown,
    options: unknown,
    Class: typeof TypeError,
    name: string,
  ];
  const cases: Case[] = [
    [1, "f", {}, TypeError, "uri"],
    ["a", "f", {}, RangeError, "uri"],
    ["/a", 1, {}, TypeError, "file: must be the path of a file; got number"],
    ["/a", new URL("file:///f"), {}, TypeError, "file"],
    ["/a", "", {}, RangeError, "file"],
    ["/a", "a\0", {}, RangeError, "file"],
    ["/a", "f", null, TypeError, "options"],
    ["/a", "f", { more: 1 }, TypeError, '"more"'],
    ["/a", "f", { signal: {} }, TypeError, "signal"],
    ["/a", "f", { onProgress: {} }, TypeError, "onProgress: must be a function; got Object"],
    ["/a", "f", { modified: 0 }, TypeError, "modified: must be a Date; got number"],
    ["/a", "f", { modified: new Date(NaN) }, RangeError, "modified"],
    ...["resume", "verify", "replace"].map((name): Case => [
      "/a",
      "f",
      { [name]: 1 },
      TypeError,
      `${name}: must be a boolean; got number`,
    ]),
  ];
  for (const [uri, file, options, Class, message] of cases) {
    const check = () => checkTransfer(uri as string, file as string, options as never);
    assertThrows(check, Class, message);
  }
});

Deno.test("progress is reported at most ten times a second, and at the end", async () => {
  const there = new ServedVersion(randomBytes(30 * 65536));
  // A sender of about 2 MB a second.
  there.beforePiece = () => new Promise((resolve) => setTimeout(resolve, 25));
  await using serving = serve(there.app);
  await using files = await serveFiles();
  const reports: (TransferProgress & { at: number })[] = [];
  const onProgress = (progress: TransferProgress) => {
    reports.push({ ...progress, at: performance.now() });
  };
  const begin = performance.now();
  const result = await download(serving.makeClient(), "/f", `${files.here}/f`, { onProgress });
  const last = reports.pop()!;
  assertEquals([last.bytes, last.total, last.resumedFrom], [result.total, result.total, 0]);
  assert(reports.length >= 2, `${reports.length} reports`);
  let before = { bytes: 0, at: begin };
  for (const report of reports) {
    assert(report.bytes > before.bytes && report.bytes < last.bytes, Deno.inspect(reports));
    assert(report.at - before.at > 99, Deno.inspect(reports));
    before = report;
  }
});

Deno.test("an error of the progress callback ends the download, which can be resumed", async () => {
  const there = new ServedVersion(randomBytes(200_000));
  await using serving = serve(there.app);
  await using files = await serveFiles();
  const client = serving.makeClient();
  const reason = new Error("enough");
  const onProgress = () => {
    throw reason;
  };
  const failed = download(client, "/f", `${files.here}/f`, { onProgress });
  assertEquals(await assertRejects(() => failed, Error), reason);
});

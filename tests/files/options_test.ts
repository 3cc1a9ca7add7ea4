/** Options of transfers. */
import { assertEquals, assertThrows } from "@std/assert";
import { checkTransfer } from "@degu/internal/files/options.ts";

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

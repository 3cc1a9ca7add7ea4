/** Downloads to a symbolic link: the link is resolved, and stays. */
import { download } from "@degu/files";
import { fill, listNames } from "@degu/testing/directories.ts";
import { catchRejection } from "@degu/testing/expectations.ts";
import { testEachRow } from "@degu/testing/rows.ts";
import { makeFifo, makeLinks } from "@degu/testing/special_files.ts";
import { serveFiles } from "@degu/testing/transferring.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

/** Serves a new `file`, for a client with links to an old file in another directory. */
async function serveLinks() {
  const files = await serveFiles();
  const { clientDir, serverDir } = files;
  await fill(serverDir, { file: "new" });
  await fill(clientDir, { "other/file": "old", "dir/x": "x" });
  const links = {
    link: "other/file",
    linkToLink: "link",
    directory: "dir",
    dangling: "other/missing",
    loop: "loopBack",
    loopBack: "loop",
    device: "/dev/null",
    fifo: "other/fifo",
    forbidden: `${Deno.cwd()}/deno.json`,
  };
  await makeLinks(
    Object.fromEntries(Object.entries(links).map(([at, to]) => [`${clientDir}/${at}`, to])),
  );
  const target = (name: string) => name.startsWith("/") ? name : `${clientDir}/${name}`;
  return {
    ...files,
    links,
    target,
    download: (name: string, options = {}) =>
      download(files.client, "/file", target(name), options),
    [Symbol.asyncDispose]: () => files[Symbol.asyncDispose](),
  };
}

Deno.test("a download to a link replaces the file that the link leads to, in its directory, and the link stays", async () => {
  for (const name of ["link", "linkToLink"]) {
    await using files = await serveLinks();
    const { clientDir } = files;
    await Deno.chmod(`${clientDir}/other/file`, 0o600);
    assertEquals((await files.download(name, { modes: false })).bytes, 3);
    assertEquals(await Deno.readTextFile(`${clientDir}/other/file`), "new");
    assertEquals(Number((await Deno.lstat(`${clientDir}/other/file`)).mode) & 0o777, 0o600);
    assertEquals(await listNames(`${clientDir}/other`), ["file"]);
    for (const [link, to] of Object.entries(files.links)) {
      assertEquals(await Deno.readLink(`${clientDir}/${link}`), to);
    }
    assertEquals((await files.download(name)).bytes, 0);
  }
});

Deno.test("with followLink: false, the file replaces each link, and nothing that it leads to changes", async () => {
  await using files = await serveLinks();
  for (const name of Object.keys(files.links)) {
    await files.download(name, { followLink: false });
    const info = await Deno.lstat(files.target(name));
    assert(info.isFile && await Deno.readTextFile(files.target(name)) === "new", name);
  }
  assertEquals(await Deno.readTextFile(files.target("other/file")), "old");
  assertEquals(await listNames(files.target("dir")), ["x"]);
});

Deno.test("a target that is or leads to no regular file is refused, and no entry changes", async (t) => {
  await using files = await serveLinks();
  const before = await listNames(files.clientDir);
  const hasFifo = await makeFifo(files.target("other/fifo"));
  const rows: (readonly [rule: string, name: string, problem: string])[] = [
    ["a link to a missing file", "dangling", "is a symbolic link to a file that does not exist"],
    ["a link to itself", "loop", "is a symbolic link that leads back to itself"],
    ["a link to a directory", "directory", "is a directory"],
    ["a link to a device", "device", "exists and is not a regular file"],
    ...hasFifo ? [["a link to a FIFO", "fifo", "exists and is not a regular file"] as const] : [],
  ];
  await testEachRow(t, rows, async (_rule, name, problem) => {
    const error = await catchRejection(files.download(name), name) as Error & { code?: unknown };
    assertEquals(error.code, "IN_THE_WAY");
    assertStringIncludes(error.message, `file: ${files.target(name)} ${problem}`);
  });
  assertEquals(await listNames(files.clientDir), before);
  assertEquals(await listNames(files.target("other")), hasFifo ? ["fifo", "file"] : ["file"]);
});

Deno.test("a target that the program may not read or write is an error that names the target", async (t) => {
  await using files = await serveLinks();
  // The suite may write to a checkout below /tmp.
  const path = files.links.forbidden;
  const isForbidden = Deno.permissions.querySync({ name: "write", path }).state !== "granted";
  const rows: (readonly [rule: string, name: string])[] = [
    ...isForbidden
      ? [["a link to a file that the program may not write", "forbidden"] as const]
      : [],
    ["an open file of the process", "/dev/stdout"],
  ];
  await testEachRow(t, rows, async (_rule, name) => {
    const error = await catchRejection(files.download(name), name);
    assert(error instanceof Deno.errors.NotCapable, `${error}`);
    assertStringIncludes(error.message, name === "forbidden" ? files.links.forbidden : name);
  });
});

Deno.test("with replace: false a link leads to an existing file, which is kept", async () => {
  await using files = await serveLinks();
  const error = await catchRejection(files.download("link", { replace: false }), "replace: false");
  assertEquals((error as { code?: unknown }).code, "EXISTS");
  assertEquals(await Deno.readTextFile(files.target("other/file")), "old");
});

/** FilesApp: what it must never serve, whoever asks and whatever is in the directory. */
import { assert, assertEquals } from "@std/assert";
import { FilesApp } from "@degu/degu/files";
import { Request } from "@degu/degu/server";
import { runScript } from "@degu/testing/processes.ts";
import { runProgram } from "@degu/testing/programs.ts";
import { RawPeer } from "@degu/testing/raw_peer.ts";
import { makeTree } from "@degu/testing/served_directory.ts";
import { serve } from "@degu/testing/serving.ts";
import { makeFifo, makeLinks, startExchanging } from "@degu/testing/special_files.ts";

async function statusOf(app: FilesApp, ...path: string[]): Promise<number> {
  const request = new Request("GET", "/", {}, null, [], path, null);
  const [status] = await app.handle(request);
  return status;
}

// ───────────────────────── ways out

Deno.test("no path component escapes the directory, whoever sends it", async () => {
  await using tree = await makeTree();
  const app = new FilesApp(tree.root);
  const paths = [
    ["..", "secret"],
    ["sub", "..", "..", "secret"],
    ["sub", "..", "file"],
    ["."],
    [".", "file"],
    ["sub", ".", "file"],
    ["../secret"],
    ["sub/../../secret"],
    ["sub/file"],
    ["/etc/hostname"],
    ["", "etc", "hostname"],
    ["", "file"],
    ["sub", "", "file"],
    ["%2e%2e", "secret"],
    ["%2E%2E%2Fsecret"],
    ["..%2fsecret"],
    ["..\\secret"],
    ["file\0"],
    ["file\0.html"],
    ["\0"],
    ["f\u0131le"],
    ["file\n"],
    ["..", ""],
    [".", ""],
    ["..", "root", "file"],
    [`${tree.root}/file`],
  ];
  for (const path of paths) {
    assertEquals(await statusOf(app, ...path), 404, Deno.inspect(path));
  }
  assertEquals(await statusOf(app, "sub", "file"), 200);
});

Deno.test("a target with another spelling of such a path closes the connection", async () => {
  await using tree = await makeTree();
  await using serving = serve(new FilesApp(tree.root));
  const targets = [
    "/../secret",
    "/sub/../file",
    "/%2e%2e/secret",
    "/..%2fsecret",
    "/..\\secret",
    "//etc/hostname",
    "/file\0",
    "/file%00",
    "/./../secret",
    "../secret",
    "file:///etc/hostname",
  ];
  for (const target of targets) {
    using peer = await RawPeer.connect(serving.address);
    await peer.send(`GET ${target} HTTP/1.1\r\n\r\n`);
    await peer.assertClosedSilently(target);
  }
});

Deno.test("links are followed inside the directory, and not out of it", async () => {
  await using tree = await makeTree();
  const { path, root } = tree;
  await makeLinks({
    [`${root}/in`]: "file",
    [`${root}/in-absolute`]: `${root}/sub/file`,
    [`${root}/in-sub`]: "sub",
    [`${root}/sub/up`]: "../file",
    [`${root}/out-and-in`]: "../root/file",
    [`${root}/self`]: ".",
    [`${root}/out`]: "../secret",
    [`${root}/out-absolute`]: `${path}/secret`,
    [`${root}/out-dir`]: "../outside",
    [`${root}/out-beside`]: "../root-too",
    [`${root}/out-root`]: "/",
    [`${root}/parent`]: "..",
    [`${root}/device`]: "/dev/zero",
    [`${root}/proc`]: "/proc/self/environ",
    [`${root}/second`]: "out",
    [`${root}/loop`]: "loop",
    [`${root}/none`]: "nothing",
    [`${root}/sub/index.html`]: "../../secret",
  });
  const app = new FilesApp(root);
  const inside = [["in"], ["in-absolute"], ["in-sub", "file"], ["sub", "up"], ["out-and-in"], [
    "self",
    "self",
    "file",
  ]];
  for (const names of inside) assertEquals(await statusOf(app, ...names), 200, names.join("/"));
  const outside = [
    ["out"],
    ["out-absolute"],
    ["out-dir"],
    ["out-dir", ""],
    ["out-dir", "secret"],
    ["out-beside", "secret"],
    ["out-root", "etc", "passwd"],
    ["parent", "secret"],
    ["parent", "root", "..", "secret"],
    ["device"],
    ["proc"],
    ["second"],
    ["loop"],
    ["none"],
    ["sub", ""],
  ];
  for (const names of outside) assertEquals(await statusOf(app, ...names), 404, names.join("/"));
});

Deno.test("FIFOs and sockets are not opened", async () => {
  await using tree = await makeTree();
  const made = await makeFifo(`${tree.root}/fifo`) &&
    await makeFifo(`${tree.root}/sub/index.html`);
  if (!made) console.log("mkfifo is missing: only sockets are tested");
  using _listener = Deno.listen({ transport: "unix", path: `${tree.root}/socket` });
  const app = new FilesApp(tree.root);
  const fifos = made ? [["fifo"], ["sub", ""]] : [];
  for (const path of [...fifos, ["socket"]]) {
    assertEquals(await statusOf(app, ...path), 404, path.join("/"));
  }
});

Deno.test("FilesApp needs --allow-read only for its directory, and stays inside it on its own", async () => {
  await using tree = await makeTree();
  const { path, root } = tree;
  await makeLinks({
    [`${root}/in`]: "file",
    [`${root}/out`]: "../secret",
    [`${root}/out-dir`]: "../outside",
  });
  const script = `
    import { FilesApp } from "./files.ts";
    import { Request } from "./server.ts";
    const app = new FilesApp(${JSON.stringify(root)});
    for (const name of ["file", "in", "out", "out-dir/secret", "none"]) {
      const [status] = await app.handle(
        new Request("GET", "/", {}, null, [], name.split("/"), null),
      );
      console.log(name, status);
    }
    // What the permission is for, as Deno sees it.
    console.log(await Deno.readTextFile(${JSON.stringify(`${root}/out`)}));
    try {
      new FilesApp(${JSON.stringify(path)});
    } catch (error) {
      console.log(error.name);
    }
  `;
  const printed = await runScript(script, [`--allow-read=${root}`], {});
  assertEquals(
    printed,
    "file 200\nin 200\nout 404\nout-dir/secret 404\nnone 404\nsecret\nNotCapable\n",
  );
});

/** The permissions that a program has. */
const PERMISSIONS: Record<string, (root: string) => string> = {
  "with permission for its directory": (root) => `--allow-read=${root}`,
  "with permission for everything": () => "--allow-read",
};

/** What is exchanged for a link to what: a part of the path, or its end. */
const EXCHANGES: readonly [name: string, target: string, asked: string][] = [
  ["sub", "outside", "/sub/file"],
  ["sub/file", "secret", "/sub/file"],
];

for (const [having, permission] of Object.entries(PERMISSIONS)) {
  for (const [name, target, asked] of EXCHANGES) {
    Deno.test(`nothing escapes while ${name} is exchanged for a link, ${having}`, async () => {
      await using tree = await makeTree();
      const { path, root } = tree;
      await Deno.writeTextFile(`${path}/outside/file`, "secret");
      await using exchanger = await startExchanging(`${root}/${name}`, `${path}/${target}`);
      const printed = await runProgram("files_app.ts", {
        flags: [permission(root)],
        args: [root, asked, "4000"],
      });
      assert(exchanger.running, "the exchange for a link has ended");
      const answers = JSON.parse(printed);
      // To exchange the file changes its ctime, of which nobody can tell whether bytes have changed.
      if (name === "sub/file") delete answers["cut"];
      assertEquals(Object.keys(answers).toSorted(), ["200 public", "404 "], printed);
    });
  }
}

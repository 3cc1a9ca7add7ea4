/** `replace: "grown"`: only files that have grown are replaced, and identical files get the time. */
import {
  download,
  type FilesOptions,
  TransferError,
  type TransferOptions,
  upload,
} from "@degu/files";
import { Client, type Connector } from "@degu/degu/client";
import { setClockAhead } from "@degu/testing/clock.ts";
import { CuttingRelay } from "@degu/testing/cutting_relay.ts";
import { fill, readTree } from "@degu/testing/directories.ts";
import { HAS_LINKS, makeLinks } from "@degu/testing/special_files.ts";
import {
  assertTransferError,
  type ChangeResponse,
  randomBytes,
} from "@degu/testing/transferring.ts";
import { DIRECTIONS, makeTrees, type TreeDirection } from "@degu/testing/trees.ts";
import { assert, assertEquals, assertRejects } from "@std/assert";

/** Registers a test in both directions; Deno reports it at the line of the call. */
const test = Deno.test.each(DIRECTIONS);

const OLD = new Date("2026-01-02T03:04:05.678Z");
const NEW = new Date("2026-02-03T04:05:06.789Z");

/** What the target has at the path of a file, and the outcome of its copy. */
const STATES = {
  missing: "copied",
  identical: "unchanged",
  touched: "unchanged",
  prefix: "copied",
  empty: "copied",
  shorter: "failed",
  "same size": "failed",
  longer: "failed",
  "longer, with the source as its prefix": "failed",
} as const;
type State = keyof typeof STATES;
const STATE_NAMES = Object.keys(STATES) as State[]; // the keys of a constant

/** Makes the content of the target's file for a source; `null` for no file. */
function makeExisting(state: State, source: Uint8Array<ArrayBuffer>) {
  const half = Math.ceil(source.length / 2);
  switch (state) {
    case "missing":
      return null;
    case "identical":
    case "touched":
      return source;
    case "prefix":
      return source.slice(0, half);
    case "empty":
      return new Uint8Array();
    case "shorter":
      return changeFirstByte(source).slice(0, half);
    case "same size":
      return changeFirstByte(source);
    case "longer":
      return new Uint8Array([...changeFirstByte(source), 1]);
    case "longer, with the source as its prefix":
      return new Uint8Array([...source, 1]);
  }
}

function changeFirstByte(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const changedBytes = bytes.slice();
  changedBytes[0]! ^= 1;
  return changedBytes;
}

interface SourceFile {
  readonly name: string;
  readonly state: State;
  readonly size: number;
}

async function makeGrownTrees(
  direction: TreeDirection,
  files: readonly SourceFile[],
  change?: ChangeResponse,
  options: FilesOptions = {},
) {
  const trees = await makeTrees(direction, {}, {}, change, { reuse: true, ...options });
  const contents = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const { name, state, size } of files) {
    const content = randomBytes(size);
    contents.set(name, content);
    await Deno.writeFile(`${trees.source}/${name}`, content);
    await Deno.utime(`${trees.source}/${name}`, NEW, NEW);
    const existing = makeExisting(state, content);
    if (existing === null) continue;
    await Deno.writeFile(`${trees.target}/${name}`, existing);
    const time = state === "identical" ? NEW : OLD;
    await Deno.utime(`${trees.target}/${name}`, time, time);
  }
  const copyFile = (
    name: string,
    options: TransferOptions = {},
    client: Connector = trees.client,
  ) => {
    const allOptions = { replace: "grown", ...options } as const;
    return direction === "download"
      ? download(client, ["tree", name], `${trees.target}/${name}`, allOptions)
      : upload(client, `${trees.source}/${name}`, ["tree", name], allOptions);
  };
  /** Checks that the target has the content of a source, with its time, or is as before. */
  const check = async ({ name, state }: SourceFile) => {
    const isKept = STATES[state] === "failed";
    const source = contents.get(name)!;
    const content = await Deno.readFile(`${trees.target}/${name}`);
    const { mtime } = await Deno.stat(`${trees.target}/${name}`);
    assertEquals(content, isKept ? makeExisting(state, source) : source, `${name}: ${state}`);
    assertEquals(mtime, isKept ? OLD : NEW, `${name}: ${state}`);
  };
  return { ...trees, copyFile, check };
}

/** Both sides of a bundle's limit, and of the limit of a reused prefix. */
const SIZES = [2, 131_074];

function listAllFiles(): SourceFile[] {
  return SIZES.flatMap((size) =>
    STATE_NAMES.map((state, index) => ({ name: `${size}-${index}`, state, size }))
  );
}

test("%s: a file alone is replaced only if it has grown", async (direction) => {
  const files = listAllFiles();
  await using trees = await makeGrownTrees(direction, files);
  for (const file of files) {
    if (STATES[file.state] === "failed") {
      await assertTransferError(() => trees.copyFile(file.name), "EXISTS");
    } else {
      const { bytes, total } = await trees.copyFile(file.name);
      if (STATES[file.state] === "unchanged") assertEquals(bytes, 0, file.state);
      assertEquals(total, file.size);
    }
    await trees.check(file);
  }
  assertEquals(Object.keys(await readTree(trees.target)).length, files.length, "no part stays");
});

test("%s: in a tree, each other file fails alone, with its own reason", async (direction) => {
  const files = listAllFiles();
  await using trees = await makeGrownTrees(direction, files);
  const { outcomes, errors } = await trees.copy({ replace: "grown", retries: 1 });
  assertEquals(
    outcomes,
    Object.fromEntries(files.map(({ name, state }) => [name, STATES[state]])),
  );
  for (const error of Object.values(errors)) {
    assertEquals((error as TransferError).code, "EXISTS");
  }
  for (const file of files) await trees.check(file);
  assertEquals(Object.keys(await readTree(trees.target)).length, files.length, "no part stays");
  const again = await trees.copy({ replace: "grown" });
  assertEquals(again.result.files, 0);
  assertEquals(again.result.failed, Object.keys(errors).length);
});

test("%s: directories and links in the way stay", async (direction) => {
  if (!HAS_LINKS) return;
  await using trees = await makeGrownTrees(direction, []);
  await fill(trees.source, { directory: "1", link: "12" });
  await fill(trees.target, { "directory/x": "2", other: "1" });
  await makeLinks({ [`${trees.target}/link`]: "other" });
  const before = await readTree(trees.target);
  const { outcomes } = await trees.copy({ replace: "grown" });
  assertEquals(outcomes, { directory: "failed", link: "failed" });
  assertEquals(await readTree(trees.target), before);
  await assertRejects(() => trees.copyFile("directory"), TransferError);
  assertEquals(await readTree(trees.target), before);
});

Deno.test("download: a file of a server without reuse: true can't be compared, and is refused", async () => {
  const files: SourceFile[] = [{ name: "f", state: "prefix", size: 100_000 }];
  await using trees = await makeGrownTrees("download", files, undefined, { reuse: false });
  await assertTransferError(() => trees.copyFile("f"), "EXISTS");
  assertEquals((await trees.copy({ replace: "grown" })).outcomes, { f: "failed" });
  assertEquals((await Deno.stat(`${trees.target}/f`)).size, 50_000);
});

test("%s: a part of an earlier call is resumed", async (direction) => {
  using _clock = setClockAhead(10_000);
  for (const prefixBytes of [1000, 100_000]) {
    const file: SourceFile = { name: "f", state: "missing", size: 24_000_000 };
    await using trees = await makeGrownTrees(direction, [file]);
    const prefix = (await Deno.readFile(`${trees.source}/f`)).slice(0, prefixBytes);
    const writeTarget = async (bytes: Uint8Array, time: Date) => {
      await Deno.writeFile(`${trees.target}/f`, bytes);
      await Deno.utime(`${trees.target}/f`, time, time);
    };
    await writeTarget(prefix, OLD);
    await using relay = new CuttingRelay(trees.serving.address);
    relay.cutAfter(18_000_000);
    const copyOverRelay = () => trees.copyFile("f", {}, new Client(relay.address));
    await assertRejects(copyOverRelay);
    relay.cutAfter(Infinity);
    // The part begins with other bytes than the target's file has now.
    await writeTarget(changeFirstByte(prefix), new Date(OLD.getTime() + 1000));
    await assertTransferError(copyOverRelay, "EXISTS");
    await writeTarget(prefix, OLD);
    const { resumedFrom } = await copyOverRelay();
    assert(resumedFrom > 0, `${prefixBytes}: the part was not resumed`);
    await trees.check(file);
  }
});

for (const state of ["missing", "prefix"] as const) {
  for (const size of [1000, 200_000]) {
    test(`%s: a file (${state}, ${size} bytes) that changes before the new one gets its name is kept`, async (direction) => {
      for (const isTree of [false, true]) {
        let changeCount = 0;
        const change: ChangeResponse = async (request, callApp) => {
          // The last request of the client: the content, or its upload.
          const isContent = request.method === (direction === "download" ? "GET" : "PUT") &&
              !request.uri.endsWith("/") || request.uri.includes("?bundle=");
          if (!isContent) return null;
          const response = direction === "download" ? await callApp() : null;
          await Deno.writeTextFile(`${trees.target}/f`, "mine");
          changeCount++;
          return response;
        };
        await using trees = await makeGrownTrees(direction, [{ name: "f", state, size }], change);
        if (isTree) {
          assertEquals((await trees.copy({ replace: "grown" })).outcomes, { f: "failed" });
        } else {
          const { code } = await assertRejects(() => trees.copyFile("f"), TransferError);
          assert(code === "EXISTS" || code === "TARGET_CHANGED", code);
        }
        assert(changeCount > 0);
        assertEquals(await Deno.readTextFile(`${trees.target}/f`), "mine");
      }
    });
  }
}

Deno.test("download: a source that changes after the comparison replaces no other content", async () => {
  for (const isTree of [false, true]) {
    // A settled file has an entity tag, so the response has the whole changed file.
    for (const [size, isSettled] of [[1000, false], [200_000, false], [200_000, true]] as const) {
      using _clock = isSettled ? setClockAhead(10_000) : null;
      const change: ChangeResponse = async ({ method, uri }) => {
        const isContent = method === "GET" && !uri.endsWith("/");
        if (isContent) await Deno.writeFile(`${trees.source}/f`, randomBytes(size));
        return null;
      };
      const file: SourceFile = { name: "f", state: "prefix", size };
      await using trees = await makeGrownTrees("download", [file], change);
      const prefix = await Deno.readFile(`${trees.target}/f`);
      if (isTree) {
        assertEquals((await trees.copy({ replace: "grown" })).outcomes, { f: "failed" });
      } else await assertRejects(() => trees.copyFile("f"), TransferError);
      assertEquals(await Deno.readFile(`${trees.target}/f`), prefix);
      assertEquals(Object.keys(await readTree(trees.target)), ["f"], "no part stays");
    }
  }
});

for (const kind of HAS_LINKS ? ["directory", "link"] : ["directory"]) {
  Deno.test(`download: a target that becomes a ${kind} during the call is reported as changed`, async () => {
    let isChanged = false;
    const change: ChangeResponse = async () => {
      if (isChanged) return null;
      isChanged = true;
      await Deno.remove(`${trees.target}/f`);
      if (kind === "directory") await Deno.mkdir(`${trees.target}/f`);
      else await makeLinks({ [`${trees.target}/f`]: "nowhere" });
      return null;
    };
    const file = { name: "f", state: "prefix", size: 100_000 } as const;
    await using trees = await makeGrownTrees("download", [file], change);
    await assertTransferError(() => trees.copyFile("f"), "TARGET_CHANGED");
  });
}

test("%s: with move or another value, replace is refused", async (direction) => {
  await using trees = await makeTrees(direction);
  // @ts-expect-error: the value is not in the type.
  await assertRejects(() => trees.copy({ replace: "newer" }), TypeError);
  if (direction === "download") return;
  await assertRejects(() => trees.copy({ replace: "grown", move: true }), RangeError, "move");
});

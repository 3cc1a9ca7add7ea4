/**
 * Serves and copies files whose metadata JavaScript can't hold, on the tmpfs at the first argument,
 * and prints the results as JSON. In a name, the number is the size or the time in seconds.
 */
import { Body } from "@degu/degu/base";
import {
  deleteEntry,
  type DirectoryEntry,
  download,
  FilesApp,
  listDirectory,
  remoteDigest,
  upload,
} from "@degu/degu/files";
import { mkreq } from "@degu/degu/misc";
import { setClockAhead } from "@degu/testing/clock.ts";
import { serve } from "@degu/testing/serving.ts";
import { listOpenFiles } from "@degu/testing/special_files.ts";
import { copyTree } from "@degu/testing/trees.ts";
import { makeUploadHeaders } from "../../files/tests/written_directory.ts";

const [disk = "", oddText = "", goodText = ""] = Deno.args;
const ODD_NAMES = oddText.split(" ");
const GOOD_NAMES = goodText.split(" ");
/** Outside of the range of `Date`, in seconds. */
const ODD_SECONDS = 8_640_000_000_001;
const CONTENT = new TextEncoder().encode("text");
const REPLACED_TIME = new Date("2026-01-02T03:04:05.678Z");
/** The statuses of a request, a record or a call. */
type Outcome = number | string;

/** Creates a directory with files whose metadata are odd or good. */
async function fillOdd(dir: string): Promise<void> {
  await Deno.mkdir(`${dir}/directory`, { recursive: true });
  for (const name of [...GOOD_NAMES, ...ODD_NAMES]) {
    const path = `${dir}/${name}`;
    const [kind, number = ""] = name.split("_");
    await Deno.writeFile(path, kind === "size" ? new Uint8Array() : CONTENT);
    if (kind === "size") await Deno.truncate(path, Number(number));
    else if (kind === "atime") await Deno.utime(path, Number(number), 1);
    else await Deno.utime(path, 1, Number(number));
  }
  await Deno.writeFile(`${dir}/directory/file`, CONTENT);
  await Deno.utime(`${dir}/directory`, 1, ODD_SECONDS);
}

async function catchCode(promise: Promise<unknown>): Promise<Outcome> {
  try {
    await promise;
    return "ok";
  } catch (error) {
    const { code, status } = error as { readonly code?: string; readonly status?: number };
    return status ?? code ?? `${error}`;
  }
}

/** Serves a new directory with odd files. */
async function serveOdd(name: string) {
  const dir = `${disk}/${name}`;
  await fillOdd(dir);
  const app = new FilesApp(dir, { list: true, write: true, reuse: true });
  const serving = serve(app);
  return {
    dir,
    client: serving.makeClient(),
    call: async (...args: Parameters<typeof mkreq>) => (await app.handle(mkreq(...args)))[0],
    [Symbol.asyncDispose]: () => serving[Symbol.asyncDispose](),
  };
}

/** Returns whether a file was replaced by the new file. */
function isNew(path: string): boolean {
  const { mtime, size } = Deno.lstatSync(path);
  return Number(mtime) === Number(REPLACED_TIME) && size === 3;
}

const scenarios: Record<string, () => Promise<unknown>> = {
  async list() {
    await using served = await serveOdd("list");
    await Deno.writeFile(`${served.dir}/largest`, new Uint8Array());
    await Deno.truncate(`${served.dir}/largest`, 2 ** 53 - 1);
    const entries = await Array.fromAsync(listDirectory(served.client, "/"));
    const describe = ({ kind, reason }: DirectoryEntry) => reason ?? kind;
    return Object.fromEntries(entries.map((entry) => [entry.name, describe(entry)]));
  },
  async body() {
    const path = `${disk}/body`;
    await Deno.writeFile(path, new Uint8Array());
    const outcomes: unknown[] = [];
    for (const size of [2 ** 53 - 1, 2 ** 53]) {
      await Deno.truncate(path, size);
      outcomes.push(await catchCode(Body.fromFile(path).then((body) => body.cancel())));
    }
    return [outcomes, await listOpenFiles(disk)];
  },
  async get() {
    await using served = await serveOdd("get");
    const statuses: Record<string, Outcome[]> = {};
    for (const name of [...GOOD_NAMES, ...ODD_NAMES]) {
      const body = new TextEncoder().encode(`${JSON.stringify([name])}\n`);
      const bundle = await served.client.request("POST", "/?bundle=get", {}, body);
      const [line = ""] = (await bundle.body!.text()).split("\n");
      statuses[name] = [await served.call("HEAD", `/${name}`), JSON.parse(line).status];
      if (name.startsWith("size")) continue;
      statuses[name].push(
        (await served.client.request("GET", `/${name}`)).status,
        await catchCode(remoteDigest(served.client, [name])),
      );
    }
    return statuses;
  },
  async put() {
    await using served = await serveOdd("put");
    const outcomes: Record<string, unknown[]> = {};
    const body = new TextEncoder().encode("new");
    const newFile = { "if-none-match": "*" };
    for (const name of ODD_NAMES) {
      const put = (headers: Record<string, string>) =>
        served.call("PUT", `/${name}`, headers, body);
      const modified = { "upload-modified": REPLACED_TIME.toISOString() };
      const reuse = { ...makeUploadHeaders(body, 3), reuse: `"/${name}";length=3` };
      outcomes[name] = [
        await served.call("PUT", "/copy", reuse, null),
        await put(newFile),
        await put(modified),
      ];
      outcomes[name].push(isNew(`${served.dir}/${name}`));
    }
    // A time that can't be compared counts as changed.
    await Deno.writeFile(`${served.dir}/changed`, CONTENT);
    await Deno.utime(`${served.dir}/changed`, 1, ODD_SECONDS);
    const since = { "if-unmodified-since": "Fri, 31 Dec 9999 23:59:59 GMT" };
    return [outcomes, await served.call("PUT", "/changed", since, body)];
  },
  async "delete"() {
    await using served = await serveOdd("delete");
    const statuses: Outcome[] = [];
    for (const [index, name] of ODD_NAMES.entries()) {
      // A call requires that the file has not changed.
      const deleting = index % 2 === 0
        ? served.call("DELETE", `/${name}`)
        : deleteEntry(served.client, [name]).then(() => 204);
      statuses.push(await deleting);
    }
    const remaining = [...Deno.readDirSync(served.dir)].map(({ name }) => name);
    return [statuses, remaining.filter((name) => ODD_NAMES.includes(name))];
  },
};

for (const direction of ["upload", "download"] as const) {
  /** Serves odd files, and creates the same files in a local directory. */
  const prepare = async (name: string) => {
    const served = await serveOdd(`${direction} ${name} served`);
    const local = `${disk}/${direction} ${name} local`;
    await fillOdd(local);
    const isUpload = direction === "upload";
    const [source, target] = isUpload ? [local, served.dir] : [served.dir, local];
    return {
      local,
      source,
      target,
      client: served.client,
      [Symbol.asyncDispose]: () => served[Symbol.asyncDispose](),
    };
  };
  scenarios[direction] = async () => {
    await using ends = await prepare("file");
    await Deno.writeTextFile(`${ends.source}/new`, "new");
    await Deno.utime(`${ends.source}/new`, REPLACED_TIME, REPLACED_TIME);
    const copy = (source: string, target: string, options = {}) => {
      const copying = direction === "upload"
        ? upload(ends.client, `${ends.local}/${source}`, [target], options)
        : download(ends.client, [source], `${ends.local}/${target}`, options);
      return catchCode(copying);
    };
    const outcomes: Record<string, unknown[]> = {};
    for (const name of ODD_NAMES) {
      outcomes[name] = [
        await copy(name, "fresh"),
        await copy("new", name, { replace: false }),
        await copy("new", name),
        isNew(`${ends.target}/${name}`),
      ];
    }
    // An identical file gets the time of the source.
    await Deno.writeTextFile(`${ends.target}/identical`, "new");
    await Deno.utime(`${ends.target}/identical`, 1, ODD_SECONDS);
    await copy("new", "identical");
    return [outcomes, isNew(`${ends.target}/identical`)];
  };
  scenarios[`${direction}Tree`] = async () => {
    await using ends = await prepare("tree");
    await Deno.remove(ends.target, { recursive: true });
    await Deno.mkdir(ends.target);
    await Deno.writeTextFile(`${ends.target}/superfluous`, "");
    const run = () => copyTree(direction, ends.client, ends.local, "/", { delete: true });
    const { outcomes, deletedPaths, result } = await run();
    return [outcomes, deletedPaths, result.deletionsSkipped, (await run()).outcomes];
  };
  scenarios[`${direction}Tree to odd files`] = async () => {
    await using ends = await prepare("targets");
    await Deno.remove(ends.source, { recursive: true });
    await Deno.mkdir(ends.source);
    for (const name of ODD_NAMES) {
      await Deno.writeTextFile(`${ends.source}/${name}`, "new");
      await Deno.utime(`${ends.source}/${name}`, REPLACED_TIME, REPLACED_TIME);
    }
    const run = (options = {}) => copyTree(direction, ends.client, ends.local, "/", options);
    const outcomes = [
      (await run({ replace: false })).outcomes,
      (await run()).outcomes,
      (await run()).outcomes,
    ];
    return [...outcomes, ODD_NAMES.filter((name) => !isNew(`${ends.target}/${name}`))];
  };
}

scenarios.move = async () => {
  await using served = await serveOdd("move served");
  const local = `${disk}/move local`;
  await fillOdd(local);
  // A file that was just written is kept.
  using _clock = setClockAhead(10_000);
  const options = { move: true, settled: 0 } as const;
  const { outcomes } = await copyTree("upload", served.client, local, "/sub/", options);
  return [outcomes, [...Deno.readDirSync(local)].map(({ name }) => name)];
};

const results: Record<string, unknown> = {};
for (const [name, run] of Object.entries(scenarios)) {
  try {
    results[name] = { value: await run() };
  } catch (error) {
    results[name] = { error: error instanceof Error ? error.stack : `${error}` };
  }
}
console.log(JSON.stringify(results));

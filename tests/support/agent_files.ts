/**
 * A device that serves a share and an inbox, and one that moves files: programs, as people run them.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import type { Address } from "@degu/degu/base";
import { parseAddress } from "@degu/degu/base";
import type { Device } from "@degu/degu/device";
import { record, TestDevices } from "./device_pairs.ts";
import { tempDir } from "./directories.ts";
import { within } from "./raw_peer.ts";

const AGENT = fromFileUrl(new URL("../../agent.ts", import.meta.url));
const CACHED = ["--no-prompt", "--quiet", "--no-check"];

/** What a program has printed, and its exit code. */
export interface AgentResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command that runs the program with just the flags that its commands are documented to need. */
export function agentCommand(
  { home, dirs, through = [] }: {
    home: string;
    dirs: readonly string[];
    through?: readonly string[];
  },
  args: readonly string[],
): { program: string; args: string[] } {
  const paths = [home, ...dirs].join(",");
  const [program = "", ...rest] = [
    ...through,
    Deno.execPath(),
    "run",
    ...CACHED,
    "--allow-net",
    `--allow-read=${paths}`,
    `--allow-write=${paths}`,
    "--allow-sys=uid",
    AGENT,
    ...args,
    "--home",
    home,
  ];
  return { program, args: rest };
}

/** Two devices that are paired, and the directories of both. */
export class AgentFiles implements AsyncDisposable {
  readonly share: string;
  readonly inbox: string;
  /** The directory of the one that moves files. */
  readonly here: string;
  readonly #devices: TestDevices;
  readonly #stack: AsyncDisposableStack;
  readonly #camera: Device;
  readonly #viewer: Device;
  #address: Address | null = null;
  #server: { readonly child: Deno.ChildProcess; readonly lines: FirstLine } | null = null;

  private constructor(
    stack: AsyncDisposableStack,
    devices: TestDevices,
    pair: readonly [Device, Device],
    dir: string,
  ) {
    this.#stack = stack;
    this.#devices = devices;
    [this.#camera, this.#viewer] = pair;
    [this.share, this.inbox, this.here] = [`${dir}/share`, `${dir}/inbox`, `${dir}/here`];
  }

  /** Pairs two devices, and begins to serve. */
  static async start(): Promise<AgentFiles> {
    const stack = new AsyncDisposableStack();
    const { path } = stack.use(await tempDir());
    const devices = stack.use(await TestDevices.create());
    const pair = [await devices.open("camera"), await devices.open("viewer")] as const;
    await record(pair[0], pair[1]);
    const files = new AgentFiles(stack, devices, pair, path);
    for (const dir of [files.share, files.inbox, files.here]) await Deno.mkdir(dir);
    await files.serve();
    return files;
  }

  /** Begins to serve, at the same address as before. */
  async serve(): Promise<void> {
    const listen = this.#address === null ? "127.0.0.1:0" : `127.0.0.1:${this.#address[1]}`;
    const { program, args } = agentCommand(
      { home: this.#devices.path("camera"), dirs: [this.share, this.inbox] },
      ["serve", "--json", "--share", this.share, "--inbox", this.inbox, "--listen", listen],
    );
    const child = new Deno.Command(program, {
      args,
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const lines = new FirstLine(child.stdout);
    this.#server = { child, lines };
    const line = await within(lines.text, "degu serve says where");
    this.#address = parseAddress(JSON.parse(line).addresses[0]);
    await record(this.#viewer, this.#camera, { addresses: [this.#address] });
  }

  /** Kills what serves. */
  async kill(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    server?.child.kill("SIGKILL");
    await server?.child.status;
    await server?.lines.drained;
  }

  /** The command that runs the program on the device that moves files. */
  command(args: readonly string[], through: readonly string[] = []) {
    const home = this.#devices.path("viewer");
    const { program, args: all } = agentCommand({ home, dirs: [this.here], through }, args);
    return { program, args: all, cwd: this.here };
  }

  /** Begins to run the program. */
  spawn(...args: string[]): Deno.ChildProcess {
    const { program, ...options } = this.command(args);
    return new Deno.Command(program, {
      ...options,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    })
      .spawn();
  }

  /** Runs the program to its end. */
  async run(...args: string[]): Promise<AgentResult> {
    return await resultOf(this.spawn(...args), args);
  }

  /** Runs it, and fails the test where it does not succeed. */
  async succeed(...args: string[]): Promise<AgentResult> {
    const result = await this.run(...args);
    assertEquals(result.code, 0, `degu ${args.join(" ")}: ${result.stderr}`);
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await this.#stack.disposeAsync();
  }
}

/** What a program prints until it ends; it is killed if that takes too long. */
export async function resultOf(
  child: Deno.ChildProcess,
  args: readonly string[] = [],
): Promise<AgentResult> {
  const output = child.output();
  try {
    const { code, stdout, stderr } = await within(output, `degu ${args.join(" ")} ends`, 60);
    const decoder = new TextDecoder();
    return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  } catch (error) {
    child.kill("SIGKILL");
    await output;
    throw error;
  }
}

/** The first line of a stream; the rest is read, so that whoever writes never waits, and dropped. */
class FirstLine {
  readonly text: Promise<string>;
  readonly drained: Promise<void>;

  constructor(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    this.text = promise;
    this.drained = (async () => {
      let text = "";
      for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
        if (text.includes("\n")) continue;
        text += piece;
        if (text.includes("\n")) resolve(text.slice(0, text.indexOf("\n")));
      }
      reject(new Error(`it ended after ${JSON.stringify(text)}`));
    })();
  }
}

/** The objects that a program has printed with --json. */
export function objectsOf({ stdout }: AgentResult): Record<string, unknown>[] {
  return stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

/** The texts of all files below a directory, by path; `null` for a directory. */
export async function treeOf(root: string): Promise<Record<string, string | null>> {
  const tree: Record<string, string | null> = {};
  const visit = async (prefix: string) => {
    for await (const { name, isDirectory } of Deno.readDir(`${root}/${prefix}`)) {
      if (name === ".degu-files") continue;
      tree[prefix + name] = isDirectory
        ? null
        : await Deno.readTextFile(`${root}/${prefix}${name}`);
      if (isDirectory) await visit(`${prefix}${name}/`);
    }
  };
  await visit("");
  return Object.fromEntries(Object.entries(tree).sort(([a], [b]) => a < b ? -1 : 1));
}

/** Makes files and, where the text is `null`, directories below a directory. */
export async function makeTreeAt(
  root: string,
  tree: Readonly<Record<string, string | null>>,
): Promise<void> {
  for (const [path, text] of Object.entries(tree)) {
    const parent = `${root}/${path}`.replace(/\/[^/]*$/, "");
    await Deno.mkdir(text === null ? `${root}/${path}` : parent, { recursive: true });
    if (text !== null) await Deno.writeTextFile(`${root}/${path}`, text);
  }
}

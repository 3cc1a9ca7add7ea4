/**
 * A device that serves a share and an inbox, and a device that moves files, by the commands of the
 * program.
 */

import { assertEquals } from "@std/assert";
import type { Address } from "@degu/degu/base";
import { Inbox } from "@degu/internal/agent/serve/inbox.ts";
import {
  AgentHomes,
  type AgentResult,
  type InProcessOptions,
  type RunningAgent,
} from "@degu/testing/agents.ts";
import { findUnusedPort, listenAgain } from "@degu/testing/ports.ts";

/** Two devices that are paired, and the directories of both. */
export class AgentFiles implements AsyncDisposable {
  /** The directory that the camera shares. */
  readonly share: string;
  /** The inbox of the camera, and the directory of the viewer in it. */
  readonly inboxes: string;
  readonly inbox: string;
  /** The directory of the viewer, which moves files. */
  readonly local: string;
  readonly homes: AgentHomes;
  readonly #port: number;
  #server: RunningAgent | null = null;

  private constructor(homes: AgentHomes, port: number) {
    this.homes = homes;
    this.#port = port;
    [this.share, this.local] = [homes.joinPath("share"), homes.joinPath("here")];
    [this.inboxes, this.inbox] = [homes.joinPath("inboxes"), homes.joinPath("inboxes", "viewer")];
  }

  /** Pairs two devices, and begins to serve. */
  static async start(): Promise<AgentFiles> {
    const homes = await AgentHomes.create();
    const files = new AgentFiles(homes, await findUnusedPort());
    const [, id] = await homes.init("camera", "viewer");
    await homes.pair("camera", "viewer", `127.0.0.1:${files.address[1]}`);
    for (const dir of [files.share, files.inboxes, files.local]) await Deno.mkdir(dir);
    // Otherwise the viewer's first request would create the directory, which tests fill before.
    await new Inbox(files.inboxes).assignDirectory({ id: id!, name: "viewer" });
    await Deno.mkdir(files.inbox);
    await files.serve();
    return files;
  }

  /** Begins to serve, at the same address as before. */
  async serve(...options: string[]): Promise<void> {
    await this.kill();
    const serveOptions = options.length > 0
      ? options
      : ["--share", this.share, "--inbox", this.inboxes];
    const args = ["serve", "--json", ...serveOptions, "--listen", `127.0.0.1:${this.#port}`];
    await listenAgain(async () => {
      this.#server = this.homes.start("camera", args);
      try {
        await this.#server.waitForLine();
      } catch (error) {
        await this.kill();
        throw String(error).includes("is in use") ? new Deno.errors.AddrInUse() : error;
      }
    });
  }

  async stop(): Promise<AgentResult> {
    const server = this.#server!;
    server.kill("SIGTERM");
    const end = await server.waitForEnd();
    await this.kill();
    return end;
  }

  async kill(): Promise<void> {
    await this.#server?.[Symbol.asyncDispose]();
    this.#server = null;
  }

  get address(): Address {
    return ["127.0.0.1", this.#port];
  }

  /** Waits until the serving device has printed a text, and returns the line of the text. */
  waitForMessage(text: string): Promise<string> {
    return this.#server!.waitForMessage(text);
  }

  start(args: readonly string[], options: InProcessOptions = {}): RunningAgent {
    return this.homes.start("viewer", args, options);
  }

  async run(...args: string[]): Promise<AgentResult> {
    return await this.homes.run("viewer", args);
  }

  async runToSuccess(...args: string[]): Promise<AgentResult> {
    const end = await this.run(...args);
    assertEquals(end.code, 0, `degu ${args.join(" ")}: ${end.stderr}`);
    return end;
  }

  async runToFailure(
    code: number,
    expectedMessage: string | RegExp,
    ...args: string[]
  ): Promise<string> {
    return await this.homes.runToFailure("viewer", code, expectedMessage, args);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.homes[Symbol.asyncDispose]();
  }
}

/** Parses the objects that a program printed with --json. */
export function parseObjects({ stdout }: AgentResult): Record<string, unknown>[] {
  return stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

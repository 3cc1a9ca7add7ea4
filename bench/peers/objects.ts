/**
 * Counts the bytes of the objects that a request makes at one end, with a socket in memory whose
 * promises exist before. The arguments are the directory of the library and the name of a job.
 * Replies to each command with the bytes of a request. Needs a young generation that holds all
 * objects of a measurement, because a collection would remove some of them.
 */

import type { Socket } from "../../base/app/app.ts";
import type * as ClientModule from "../../client.ts";
import type * as ReplyModule from "../../apps/reply.ts";
import type * as ServerConnectionModule from "../../net/server/server_connection.ts";
import type { App } from "../../server.ts";
import { medianOf } from "../measure.ts";
import { replyToCommands } from "../peer.ts";

const WARM_UP_REQUESTS = 100_000;
const MEASURED_REQUESTS = 4000;
const ROUNDS = 9;

const REQUEST = new TextEncoder().encode("GET / HTTP/1.1\r\nhost: 127.0.0.1:8080\r\n\r\n");
const RESPONSE = new TextEncoder().encode(
  "HTTP/1.1 200 OK\r\ncontent-length: 13\r\ncontent-type: text/plain;charset=utf-8\r\n\r\n" +
    "hello, world\n",
);

/** Returns the same promise for the same length. */
class LengthPromises {
  readonly #promises: Promise<number>[] = [];

  get(length: number): Promise<number> {
    return this.#promises[length] ??= Promise.resolve(length);
  }
}

/** A socket of a server whose client sends the same request again, as often as it is told. */
class ServerSocket implements Socket {
  readonly #message: Uint8Array;
  readonly #lengths = new LengthPromises();
  #remainingMessages = 0;
  #resume: (() => void) | null = null;
  #onEmpty: () => void = () => {};

  constructor(message: Uint8Array) {
    this.#message = message;
  }

  /** Sends a number of messages; resolves when all have been read and another one is awaited. */
  send(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#onEmpty = resolve;
    this.#remainingMessages = count;
    this.#resume?.();
    return promise;
  }

  read(into: Uint8Array): Promise<number | null> {
    const message = this.#message;
    if (this.#remainingMessages > 0) {
      this.#remainingMessages--;
      into.set(message);
      return this.#lengths.get(message.length);
    }
    return new Promise((resolve) => {
      this.#resume = () => {
        this.#resume = null;
        this.#remainingMessages--;
        into.set(message);
        resolve(message.length);
      };
      this.#onEmpty();
    });
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#lengths.get(bytes.length);
  }

  close(): void {}
}

/** A socket of a client whose server sends the same response after each write. */
class ClientSocket implements Socket {
  readonly #lengths = new LengthPromises();
  /** Made before the measurement. */
  #reads: PromiseWithResolvers<number>[] = [];
  #into: Uint8Array | null = null;
  #nextRead = 0;

  prepare(count: number): void {
    const pendingRead = this.#reads[this.#nextRead];
    const newReads = Array.from({ length: count + 1 }, () => Promise.withResolvers<number>());
    this.#reads = pendingRead === undefined ? newReads : [pendingRead, ...newReads];
    this.#nextRead = 0;
  }

  read(into: Uint8Array): Promise<number | null> {
    this.#into = into;
    return this.#reads[this.#nextRead]!.promise;
  }

  write(bytes: Uint8Array): Promise<number> {
    this.#into!.set(RESPONSE);
    this.#reads[this.#nextRead++]!.resolve(RESPONSE.length);
    return this.#lengths.get(bytes.length);
  }

  close(): void {}
}

interface Run {
  prepare?(count: number): void;
  run(count: number): Promise<unknown>;
}

async function import_<Module>(path: string): Promise<Module> {
  return await import(`file://${Deno.args[0]}${path}`);
}

/** The program's own loop, without a library: a read and a write. */
function runBare(): Promise<Run> {
  const socket = new ServerSocket(REQUEST);
  const serve = async () => {
    const buffer = new Uint8Array(1024);
    for (;;) {
      await socket.read(buffer);
      await socket.write(RESPONSE);
    }
  };
  void serve();
  return Promise.resolve({ run: (count) => socket.send(count) });
}

async function runServer(handle: App): Promise<Run> {
  const { ServerConnection } = await import_<typeof ServerConnectionModule>(
    "net/server/server_connection.ts",
  );
  const socket = new ServerSocket(REQUEST);
  const log = () => {};
  const state = {
    handle,
    logger: { debug: log, info: log, warn: log, error: log },
    sessions: new Set(),
    lingeringConnections: new Set(),
    isStopping: false,
    onConnect: null,
    timeout: null,
    reportExchange: null,
    unframedNull: false,
    hosts: null,
    maxRequests: Infinity,
  };
  const accepted = {
    ...{ name: "a client", address: ["127.0.0.1", 8081], peerKey: "", socket },
    isPeerTrusted: () => true,
  };
  // The parts of the state and of a connection that a server without TLS uses.
  const connection = new ServerConnection(state as never, accepted as never);
  void connection.serve();
  return { run: (count) => socket.send(count) };
}

async function runClient(): Promise<Run> {
  const { Connection } = await import_<typeof ClientModule>("client.ts");
  const socket = new ClientSocket();
  const conn = new Connection(socket, { host: "127.0.0.1:8080" });
  return {
    prepare: (count) => socket.prepare(count),
    async run(count) {
      for (let number = 0; number < count; number++) {
        const { body } = await conn.request("GET", "/", {}, null);
        await body!.text();
      }
    },
  };
}

/** The available jobs, by name. */
export const objectJobs: Readonly<Record<string, () => Promise<Run>>> = {
  "a bare loop": runBare,
  "server, a tuple": () => runServer(() => [200, "OK", {}, null]),
  "server, reply()": async () => {
    const { reply } = await import_<typeof ReplyModule>("apps/reply.ts");
    return await runServer(() => reply(200, "hello, world\n"));
  },
  "client, a GET": runClient,
};

async function measure({ prepare, run }: Run): Promise<number> {
  const samples: number[] = [];
  while (samples.length < ROUNDS) {
    prepare?.(MEASURED_REQUESTS);
    const { gc } = globalThis as unknown as { gc(): void };
    gc();
    const before = Deno.memoryUsage().heapUsed;
    await run(MEASURED_REQUESTS);
    samples.push((Deno.memoryUsage().heapUsed - before) / MEASURED_REQUESTS);
  }
  return medianOf(samples);
}

if (import.meta.main) {
  const job = await objectJobs[`${Deno.args[1]}`]!();
  job.prepare?.(WARM_UP_REQUESTS);
  await job.run(WARM_UP_REQUESTS);
  await replyToCommands(null, { run: () => measure(job) });
}

/**
 * A client's connection expires if and only if one of these waits takes the time-out: for the
 * server to read what was sent, for a response, for bytes of a body that the program reads, or,
 * after the response, for the source of the request. The page of the client lists them (`timeout`).
 *
 * In random schedules, bytes arrive, are sent and are read in any order. After each tick of the
 * timer, the test compares the connection with the waits that it has observed.
 */
import { type BodyIn, BodyIter } from "@degu/degu/base";
import { Connection } from "@degu/degu/client";
import { captureIntervals } from "@degu/testing/clock.ts";
import { Random } from "@degu/testing/random.ts";
import { RecordingSocket } from "../../net/recording_socket.ts";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

const SCHEDULES = 3000;
const STEPS = 30;
const TIMEOUT = 8;
/** A wait may begin just before a tick. */
const TICKS = 9;
const BODY_BYTES = 3;

const finishTasks = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A socket whose writes wait as long as the test holds them. */
class HeldSocket extends RecordingSocket {
  isHeld = false;
  #heldWrite: PromiseWithResolvers<void> | null = null;

  get isWriting(): boolean {
    return this.#heldWrite !== null;
  }

  override async write(bytes: Uint8Array): Promise<number> {
    if (this.isHeld) {
      this.#heldWrite = Promise.withResolvers();
      await this.#heldWrite.promise;
      this.#heldWrite = null;
    }
    return await super.write(bytes);
  }

  override close(): void {
    super.close();
    this.#heldWrite?.reject(new Deno.errors.BadResource("closed"));
  }

  release(): void {
    this.isHeld = false;
    this.#heldWrite?.resolve();
  }
}

type Wait = "write" | "response" | "source" | "body";

/** The waits of the page, each with the ticks since it began. */
class Limits {
  readonly #ticks = new Map<Wait, number>();

  start(wait: Wait): void {
    this.#ticks.set(wait, 0);
  }

  /** Starts the wait unless it is in progress. */
  begin(wait: Wait): void {
    if (!this.#ticks.has(wait)) this.start(wait);
  }

  stop(wait: Wait): void {
    this.#ticks.delete(wait);
  }

  /** Returns the error of an expired wait; `null` for none. */
  tick(): string | null {
    const expired = new Set<Wait>();
    for (const [wait, ticks] of this.#ticks) {
      this.#ticks.set(wait, ticks + 1);
      if (ticks + 1 >= TICKS) expired.add(wait);
    }
    if (expired.size === 0) return null;
    if (this.#ticks.has("source")) return "the server has responded";
    return expired.has("write") ? "to read what was sent" : "kept the connection waiting";
  }
}

const makeResponse = (interims: number) => [
  ...Array<string>(interims).fill("HTTP/1.1 100 Continue\r\n\r\n"),
  `HTTP/1.1 200 OK\r\ncontent-length: ${BODY_BYTES}\r\n\r\n`,
];

/** Runs one schedule; returns the error of the expired wait, or `null` if none has expired. */
async function runSchedule(seed: number, tick: () => void): Promise<string | null> {
  const random = new Random(seed);
  const hasSource = random.chance(0.7);
  const duplex = random.pick(["half", "full"] as const);
  const steps: string[] = [hasSource ? `PUT ${duplex}` : "GET"];
  const limits = new Limits();
  const socket = new HeldSocket();
  socket.isHeld = random.chance(0.3);
  using connection = new Connection(socket, {}, undefined, TIMEOUT);
  const pieces = Array.from({ length: BODY_BYTES }, () => Promise.withResolvers<Uint8Array>());
  let pieceCount = 0;
  async function* source() {
    for (const { promise } of pieces) yield await promise;
  }
  let error: unknown = null;
  let body: BodyIn = null;
  let isReading = false, readBytes = 0;
  const fail = (thrown: unknown) => void (error ??= thrown);
  (hasSource
    ? connection.put("/", {}, new BodyIter(source(), BODY_BYTES), { duplex })
    : connection.get("/")).then((response) => body = response.body, fail);
  let isSent = false;
  await finishTasks();
  connection.requestSent.then(() => isSent = true);
  await finishTasks();

  // What the page says, from what was observed.
  const preambles = makeResponse(random.integer(3));
  let unreceived = preambles.join("");
  let receivedBytes = 0, hasPreamble = false, wasSent = false, wasWriting = false, writes = 0;
  const receivedBodyBytes = () => Math.max(0, receivedBytes - preambles.join("").length);
  /** The bytes of the current preamble that were received. */
  const findPreamble = () => {
    let rest = receivedBytes;
    for (const preamble of preambles) {
      if (rest < preamble.length) {
        return { received: rest, missing: preamble.length - rest, isDone: false };
      }
      rest -= preamble.length;
    }
    return { received: 0, missing: 0, isDone: true };
  };
  const observe = () => {
    if (socket.isWriting && !wasWriting) limits.start("write");
    if (!socket.isWriting) limits.stop("write");
    wasWriting = socket.isWriting;
    const isNewlySent = isSent && !wasSent;
    wasSent = isSent;
    // The bytes that come during the only write of a small request are read after it.
    if (!hasSource && !isSent) return;
    const { isDone } = findPreamble();
    if (isDone) {
      limits.stop("response");
      if (!isSent && duplex === "half" && hasSource) {
        if (!hasPreamble || writes !== socket.writes.length) limits.start("source");
      } else limits.stop("source");
      hasPreamble = true;
      writes = socket.writes.length;
    } else if (isNewlySent) limits.begin("response");
  };
  const receive = (count: number) => {
    for (; count > 0; count--) {
      const before = findPreamble();
      const text = unreceived === "" ? "x" : unreceived[0]!;
      unreceived = unreceived.slice(1);
      receivedBytes++;
      socket.receive(text);
      if (before.isDone || !hasSource && !isSent) continue;
      const after = findPreamble();
      if (!isSent) {
        // The server may wait for the source: each preamble has a wait of its own.
        if (before.received === 0) limits.start("response");
        if (after.received === 0) limits.stop("response");
      } else if (before.received === 0 && receivedBytes === 1) limits.start("response");
    }
  };

  observe();
  for (let i = 0; i < STEPS; i++) {
    const step = random.pick(["ticks", "ticks", "receive", "receive", "piece", "hold", "read"]);
    steps.push(step);
    if (step === "receive") {
      const { missing } = findPreamble();
      const missingBody = BODY_BYTES - receivedBodyBytes();
      receive(Math.min(random.pick([1, missing, missing, missing + 1]), missing + missingBody));
    } else if (step === "piece") pieces[pieceCount++]?.resolve(new Uint8Array(1));
    else if (step === "hold") socket.isHeld ? socket.release() : socket.isHeld = true;
    else if (step === "read" && body !== null && !isReading && readBytes < BODY_BYTES) {
      isReading = true;
      if (receivedBodyBytes() === readBytes) limits.start("body");
      (body as NonNullable<BodyIn>).read(1).then(() => {
        isReading = false;
        readBytes++;
        limits.stop("body");
      }, fail);
    }
    for (let ticks = step === "ticks" ? random.integer(8) : -1; ticks >= 0; ticks--) {
      tick();
      steps.push("tick");
      const expected = limits.tick();
      await finishTasks();
      const label = `seed ${seed}: ${steps.join(", ")}`;
      assertEquals(connection.closed, expected !== null, `${label}: ${error}`);
      if (expected !== null) {
        // Without a pending call of the program, no call rejects.
        if (error !== null) assertStringIncludes(`${error}`, expected, label);
        return expected;
      }
    }
    await finishTasks();
    observe();
  }
  return null;
}

Deno.test("in random schedules, a client's connection expires if and only if a write, a response, a read or a late source takes the time-out", async () => {
  using intervals = captureIntervals(TIMEOUT * 1000 / 8);
  const counts = new Map<string | null, number>();
  for (let seed = 0; seed < SCHEDULES; seed++) {
    const expired = await runSchedule(seed, intervals.tick);
    counts.set(expired, (counts.get(expired) ?? 0) + 1);
  }
  for (const count of counts.values()) assert(count > SCHEDULES / 10, Deno.inspect(counts));
  assertEquals(counts.size, 4);
});

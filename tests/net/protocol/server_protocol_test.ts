/** The phases of a server's connection and of its answer, without a socket. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { ReadBuffer } from "@degu/internal/base/body/byte_io.ts";
import {
  ANSWER_TRANSITIONS,
  INCOMING_TRANSITIONS,
  linkPhases,
  OUTGOING_TRANSITIONS,
  SERVER_TRANSITIONS,
  type ServerEvent,
  type ServerPhase,
  SLOT_TRANSITIONS,
  type Transitions,
} from "@degu/internal/net/protocol/phases.ts";
import { RequestReader } from "@degu/internal/net/protocol/request_reader.ts";
import { ANSWERS, ServerProtocol } from "@degu/internal/net/protocol/server_protocol.ts";
import { append } from "./read_buffers.ts";

class Connection {
  readonly buffer = new ReadBuffer();
  readonly protocol = new ServerProtocol(
    new RequestReader(this.buffer, false, ["127.0.0.1", 1], "any"),
  );

  read(text: string): void {
    append(this.buffer, new TextEncoder().encode(text));
    this.protocol.readRequest();
  }
}

type Step = readonly [events: readonly ServerEvent[], run: (connection: Connection) => void];

/** What a connection does, and the events of the table in their order. */
const STEPS: readonly Step[] = [
  [["accept"], ({ protocol }) => protocol.accept(1)],
  // It looks for a request before the first byte arrives.
  [[], (connection) => connection.read("")],
  [["receive"], (connection) => connection.read("G")],
  [["receive", "skip"], (connection) => connection.read("\r\n")],
  [["receive", "begin"], (connection) => connection.read("GET / HTTP/1.1\r\n\r\n")],
  [["finish"], ({ protocol }) => protocol.finish(2)],
  [["distrust"], ({ protocol }) => protocol.distrust()],
  [["linger"], ({ protocol }) => protocol.linger()],
  [["dismiss"], ({ protocol }) => protocol.dismiss()],
  [["close"], ({ protocol }) => protocol.close()],
  [["end"], ({ protocol }) => protocol.end()],
];

function follow(phase: ServerPhase, events: readonly ServerEvent[]): ServerPhase | undefined {
  const table: Transitions<ServerPhase, ServerEvent> = SERVER_TRANSITIONS;
  return events.reduce<ServerPhase | undefined>(
    (next, event) => next === undefined ? undefined : table[next][event],
    phase,
  );
}

/** The shortest way to each phase. */
const PATHS = new Map<ServerPhase, readonly Step[]>([["accepting", []]]);
for (const [phase, path] of PATHS) {
  for (const step of STEPS) {
    const next = follow(phase, step[0]);
    if (next !== undefined && !PATHS.has(next)) PATHS.set(next, [...path, step]);
  }
}

function replay(steps: readonly Step[]): Connection {
  const connection = new Connection();
  for (const [, run] of steps) run(connection);
  return connection;
}

Deno.test("a server's connection is in one of 9 phases, and an event that the table doesn't have is a bug", () => {
  assertEquals([...PATHS.keys()].sort(), Object.keys(SERVER_TRANSITIONS).sort());
  for (const [phase, path] of PATHS) {
    assertEquals(replay(path).protocol.phase, phase);
    for (const step of STEPS) {
      const next = follow(phase, step[0]);
      const name = `${phase}: ${step[0]}`;
      // The request has begun with another byte.
      if (phase === "receiving" && step[0].length > 1) continue;
      if (next === undefined) {
        assertThrows(() => replay([...path, step]), Error, "a bug of Degu", name);
      } else assertEquals(replay([...path, step]).protocol.phase, next, name);
    }
  }
});

/** Events, each with the phase behind it. */
const WAYS = [
  "accept idle, skip idle, receive receiving, linger lingering, close ended",
  "accept idle, linger lingering, linger lingering, close ended, end ended",
  "accept idle, begin answering, finish idle, begin answering, linger lingering, close ended",
  "accept idle, linger lingering, close ended, linger ended, close ended, end ended",
  "close closed, linger closed, close closed, end ended",
  "accept idle, close closed, end ended, close ended",
  "accept idle, receive receiving, receive receiving, close closed",
  "accept idle, begin answering, close closed, linger closed, end ended",
  "accept idle, begin answering, distrust distrusted, distrust distrusted, linger lingering",
  "accept idle, begin answering, dismiss dismissed, close dismissed, linger dismissed, end ended",
];

Deno.test("what has lingered is over with its connection, and what was closed before when its app has returned", () => {
  for (const way of WAYS) {
    const connection = new Connection();
    const actual = way.split(", ").map((part) => {
      const [event] = part.split(" ");
      STEPS.find(([events]) => events.at(-1) === event)![1](connection);
      return `${event} ${connection.protocol.phase}`;
    });
    assertEquals(actual.join(", "), way);
  }
});

Deno.test("each phase of a connection says whether it is idle, closing, or discarding", () => {
  const rows: Readonly<Record<ServerPhase, string>> = {
    accepting: "isIdle",
    idle: "isIdle",
    receiving: "",
    answering: "",
    distrusted: "",
    lingering: "isClosing isDiscarding",
    dismissed: "isClosing",
    closed: "isClosing",
    ended: "isClosing isDiscarding",
  };
  const names = ["isIdle", "isClosing", "isDiscarding"] as const;
  for (const [phase, path] of PATHS) {
    const { protocol } = replay(path);
    assertEquals(names.filter((name) => protocol[name]).join(" "), rows[phase], phase);
    // No event leaves the end.
    if (!protocol.isClosing) continue;
    for (const next of Object.values(SERVER_TRANSITIONS[phase])) {
      assert(rows[next].includes("isClosing"), `${phase} ${next}`);
    }
  }
});

Deno.test("a connection is receiving as soon as a byte of the next request has arrived", () => {
  const { buffer, protocol } = new Connection();
  assert(protocol.isIdle);
  append(buffer, new TextEncoder().encode("\r"));
  assert(!protocol.isIdle);
  protocol.accept(1);
  assertEquals(protocol.phase, "receiving");
  append(buffer, new TextEncoder().encode("\n"));
  assertEquals([protocol.readRequest(), protocol.phase], [null, "idle"]);
  append(buffer, new TextEncoder().encode("GET /a HTTP/1.1\r\n\r\nGET /b"));
  assertEquals(protocol.readRequest()!.target.uri, "/a");
  protocol.finish(5);
  assertEquals([protocol.phase, protocol.isIdle, protocol.idleSince], ["receiving", false, 5]);
  append(buffer, new TextEncoder().encode(" HTTP/1.1\r\n\r\n"));
  assertEquals(protocol.readRequest()!.target.uri, "/b");
  protocol.finish(2);
  assertEquals([protocol.phase, protocol.isIdle], ["idle", true]);
});

Deno.test("the request of an answer is discarded before it is valid for good, and an answer relays only after it was sent", () => {
  const ways: string[] = [];
  const walk = (answer: typeof ANSWERS.awaited, way: string): void => {
    const name = `${way} ${answer.name}`;
    const links = Object.entries(answer).filter(([, next]) => typeof next === "object" && next);
    if (links.length === 0) ways.push(name.trim());
    // A request is discarded at most once.
    for (const [event, next] of links) {
      if (event === "recheck" || !way.includes((next as typeof answer).name)) {
        walk(next as typeof answer, name);
      }
    }
  };
  walk(ANSWERS.awaited, "");
  assertEquals(
    ways,
    ["discarding awaited ", ""].flatMap((start) =>
      ["sending", "streaming"].map((way) => `awaited ${start}${way} sent relaying`)
    ),
  );
});

Deno.test("the phases of a table are linked as the table says, and by no other event", () => {
  const tables = [
    ...[SERVER_TRANSITIONS, SLOT_TRANSITIONS, ANSWER_TRANSITIONS],
    ...[INCOMING_TRANSITIONS, OUTGOING_TRANSITIONS],
  ];
  for (const table of tables) {
    const rows = table as Readonly<Record<string, Readonly<Record<string, string>>>>;
    const phases = linkPhases(rows);
    for (const event of new Set(Object.values(rows).flatMap(Object.keys))) {
      for (const [name, row] of Object.entries(rows)) {
        assertEquals(phases[name]![event]?.name, row[event], `${name}: ${event}`);
      }
    }
  }
});

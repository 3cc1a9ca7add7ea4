/** The tables of the states of both ends of a connection. */
import { assertEquals, assertStrictEquals } from "@std/assert";
import { CLIENT, SERVER } from "@degu/internal/net/state.ts";

/** A state of either end; its other properties are the states after events. */
interface AnyState {
  readonly name: string;
}

/** The states that events lead to from a state, and that one. */
function reachedFrom(from: AnyState): Set<string> {
  const reached = new Set<string>();
  const visit = ({ name, ...next }: AnyState): void => {
    if (reached.has(name)) return;
    reached.add(name);
    for (const state of Object.values(next)) visit(state as AnyState);
  };
  visit(from);
  return reached;
}

const ends: Record<string, Readonly<Record<string, AnyState>>> = { SERVER, CLIENT };
for (const [end, table] of Object.entries(ends)) {
  Deno.test(`${end}: every state is reached from idle, and names itself`, () => {
    assertEquals(reachedFrom(table["idle"]!), new Set(Object.keys(table)));
    for (const [name, state] of Object.entries(table)) assertEquals(state.name, name);
  });
}

Deno.test("SERVER: a session that is over stays over, in the way in which it ended", () => {
  for (const state of [SERVER.over, SERVER.endedByPeer, SERVER.closedByApp]) {
    assertEquals(reachedFrom(state), new Set([state.name]));
  }
});

Deno.test("SERVER: whatever it is doing, the end of the socket ends it, and so does its app", () => {
  for (const state of [SERVER.idle, SERVER.unread, SERVER.answering]) {
    assertStrictEquals(state.ends, SERVER.over);
    assertStrictEquals(state.appCloses, SERVER.closedByApp);
  }
});

Deno.test("SERVER: no request follows one whose body is unread", () => {
  assertStrictEquals(SERVER.unread.answered, SERVER.unread);
  assertStrictEquals(SERVER.unread.request, SERVER.unread);
});

Deno.test("CLIENT: a request begins in no state but idle, and may fail in each", () => {
  for (const state of [CLIENT.requesting, CLIENT.responding, CLIENT.unread]) {
    assertStrictEquals(state.request, state);
    assertStrictEquals(state.fails, CLIENT.idle);
  }
});

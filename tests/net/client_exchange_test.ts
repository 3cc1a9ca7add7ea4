/** The two halves of a client's exchange end in any order; an event out of order is reported. */
import { assertEquals, assertThrows } from "@std/assert";
import { ClientExchange } from "@degu/internal/net/transport/client_exchange.ts";
import { testEachRow } from "@degu/testing/rows.ts";

type Event = Exclude<
  { [K in keyof ClientExchange]: ClientExchange[K] extends () => unknown ? K : never }[
    keyof ClientExchange
  ],
  "notifyRequestEnd"
>;

function run(events: readonly Event[]): ClientExchange {
  const exchange = new ClientExchange("PUT", "/", undefined, true);
  for (const event of events) exchange[event]();
  return exchange;
}

Deno.test("an exchange is complete when its request was sent, and its response has ended", async (t) => {
  const response: Event[] = ["receivePreamble", "returnResponse", "endResponse"];
  const rows: [label: string, events: Event[]][] = [
    ["a small request", ["send", ...response]],
    ["the request ends first", ["send", "detach", "endRequest", ...response]],
    ["the response ends first", ["send", "detach", ...response, "endRequest"]],
    ["the response waits", [
      "send",
      "detach",
      "receivePreamble",
      "stall",
      "endRequest",
      "returnResponse",
      "endResponse",
    ]],
  ];
  await testEachRow(t, rows, (_label, events) => {
    assertEquals(run(events).isComplete, true);
    assertEquals(run(events.slice(0, -1)).isComplete, false);
  });
});

Deno.test("every event of the response that is out of order throws", () => {
  const order: Event[] = ["send", "receivePreamble", "returnResponse", "endResponse"];
  for (let done = 0; done < order.length; done++) {
    for (const event of order.filter((event) => event !== order[done])) {
      assertThrows(() => run([...order.slice(0, done), event]), Error, "a bug of Degu");
    }
  }
});

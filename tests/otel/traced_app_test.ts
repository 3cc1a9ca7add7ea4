/** A traced app behaves like the app, even if nothing collects traces. */
import { assertEquals, assertThrows } from "@std/assert";
import { EmptyPreambleError } from "@degu/degu/base";
import { tracedApp } from "@degu/degu/otel";
import type { App } from "@degu/degu/server";
import { assertRejects } from "@std/assert";
import { serve } from "@degu/testing/serving.ts";

Deno.test("the onConnect of an app is kept, and can refuse", async () => {
  for (const accepted of [true, false]) {
    const app: App = { onConnect: () => accepted, handle: () => [204, "No Content", {}, null] };
    await using serving = serve(tracedApp(app));
    const answer = serving.makeClient().request("GET", "/");
    if (accepted) assertEquals((await answer).status, 204);
    else await assertRejects(() => answer, EmptyPreambleError);
  }
});

Deno.test("an invalid app is refused", () => {
  assertThrows(() => tracedApp(7 as unknown as App), TypeError);
});

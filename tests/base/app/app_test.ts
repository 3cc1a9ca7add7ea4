/** The functions of an app, in either of its two forms. */
import type { ResponseTuple } from "@degu/degu/base";
import type { App, Session, Socket } from "@degu/degu/server";
import { allAccept, type OnConnect, readApp } from "@degu/internal/base/app/app.ts";
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";

const session = {} as Session;
const sock = {} as Socket;

Deno.test("a function handles requests and does not decide who may connect", () => {
  const app = () => [200, "OK", {}, null] as const;
  const { handle, onConnect } = readApp(app, "app");
  assertStrictEquals(handle, app);
  assertEquals(onConnect, null);
});

Deno.test("the methods of an object are called on it, and looked up at each call", async () => {
  class Counting {
    count = 0;
    handle(): ResponseTuple {
      return [200, `${++this.count}`, {}, null] as const;
    }
    onConnect() {
      return this.count > 0;
    }
  }
  const app = new Counting();
  const { handle, onConnect } = readApp(app, "app");
  const call = async () => (await Reflect.apply(handle, undefined, []))[1];
  assertEquals(await onConnect?.(session, sock), false);
  assertEquals([await call(), await call()], ["1", "2"]);
  assertEquals(await onConnect?.(session, sock), true);
  app.handle = () => [200, "other", {}, null];
  assertEquals(await call(), "other");
});

Deno.test("an object without onConnect, or with an undefined one, does not decide who may connect", () => {
  const handle = () => [200, "OK", {}, null] as const;
  assertEquals(readApp({ handle }, "app").onConnect, null);
  assertEquals(readApp({ handle, onConnect: undefined } as unknown as App, "app").onConnect, null);
});

Deno.test("an invalid app is a TypeError that names the argument", () => {
  const handle = () => {};
  const wrong = [undefined, null, 1, "app", {}, [], { handle: 1 }, { handle: null }];
  for (const app of [...wrong, { handle, onConnect: 1 }, { handle, onConnect: null }]) {
    const { message } = assertThrows(() => readApp(app as unknown as App, "admin"), TypeError);
    assert(message.startsWith("admin"), message);
  }
});

Deno.test("every onConnect must return exactly true, and after any other answer no other is called", async () => {
  const answers: readonly unknown[] = [true, 1, "true", {}, null, undefined, false];
  for (const [i, answer] of answers.entries()) {
    for (const isAsync of [false, true]) {
      const asked: string[] = [];
      const ask = (name: string, says: unknown): OnConnect => (...args) => {
        assertEquals([args[0] === session, args[1] === sock], [true, true]);
        asked.push(name);
        return (isAsync ? Promise.resolve(says) : says) as boolean;
      };
      const all = [ask("first", true), ask("second", answer), ask("third", true)];
      assertEquals(await allAccept(all, session, sock), i === 0);
      assertEquals(asked, i === 0 ? ["first", "second", "third"] : ["first", "second"]);
    }
  }
  assertEquals(await allAccept([], session, sock), true);
});

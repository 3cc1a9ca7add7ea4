/** Errors that are posted to another thread. */
import { fromPostedError, toPostedError } from "@degu/internal/worker/worker_port.ts";
import { assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";

/** Returns the error that the other thread receives. */
function postError(thrown: unknown): Error {
  return fromPostedError(structuredClone(toPostedError(thrown)));
}

Deno.test("an error of a worker is restored with its class, name, message, stack and cause", () => {
  const errors: Error[] = [
    new RangeError("too large"),
    new Deno.errors.AddrInUse("taken"),
    new DOMException("stopped", "AbortError"),
    Object.assign(new Error("odd"), { name: "OddError" }),
    ...["Array", "constructor", "toString"].map((name) =>
      Object.assign(new Error("odd"), { name })
    ),
    new Error("outer", { cause: new TypeError("inner", { cause: "deepest" }) }),
    new AggregateError([new TypeError("a"), "b", 3], "all failed"),
  ];
  for (const error of errors) {
    const received = postError(error);
    assertStrictEquals(Object.getPrototypeOf(received), Object.getPrototypeOf(error));
    assertEquals([received.name, received.message], [error.name, error.message]);
    assertEquals([received.stack, received.cause], [error.stack, error.cause]);
    const errorsOf = (error: Error) => (error as Partial<AggregateError>).errors;
    assertEquals(errorsOf(received), errorsOf(error));
  }
});

Deno.test("every value that a worker throws becomes an error that describes it, if it can be read", () => {
  for (const thrown of [undefined, null, 7, { a: 1 }, Symbol("s"), () => {}]) {
    const { name, message } = postError(thrown);
    assertEquals([name, message], ["Error", Deno.inspect(thrown)]);
  }
  const uncloneable = postError(new RangeError("outer", { cause: { answer: () => 42 } }));
  assertEquals([uncloneable.name, uncloneable.message], ["RangeError", "outer"]);
  assertEquals(uncloneable.cause, Deno.inspect({ answer: () => 42 }));
  const fail = () => {
    throw new Error("in a getter");
  };
  const withProperty = (property: string, descriptor: PropertyDescriptor) =>
    Object.defineProperty(new Error("odd"), property, descriptor);
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  const rows: [thrown: unknown, message: string][] = [
    ["text", "text"],
    [withProperty("name", { value: () => 5 }), "odd"],
    [withProperty("stack", { value: Symbol("s") }), "odd"],
    [withProperty("message", { get: fail }), "the thrown value can't be read"],
    [withProperty("code", { get: fail }), "the thrown value can't be read"],
    [withProperty("cause", { get: fail }), "the thrown value can't be read"],
    [proxy, "the thrown value can't be read"],
    [{ [Symbol.for("Deno.customInspect")]: fail }, "the thrown value can't be read"],
  ];
  for (const [thrown, message] of rows) {
    const received = postError(thrown);
    assertInstanceOf(received, Error);
    assertEquals(received.message, message);
  }
});

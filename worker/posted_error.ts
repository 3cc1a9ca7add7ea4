/** Errors that a worker posts to the thread that started it. */

/** An error to be cloned. Cloning keeps its message, stack and causes, but not a class of Deno. */
export interface PostedError {
  readonly error: Error;
  readonly name: string;
  /** The errors of an `AggregateError`. */
  readonly errors?: unknown[];
}

/** Prepares a thrown value for posting. Never throws. */
export function toPostedError(thrown: unknown): PostedError {
  try {
    if (!(thrown instanceof Error)) {
      return {
        error: new Error(typeof thrown === "string" ? thrown : Deno.inspect(thrown)),
        name: "Error",
      };
    }
    // In JavaScript, these properties can have any type.
    const name = String(thrown.name);
    try {
      const error = structuredClone(thrown);
      if (!(thrown instanceof AggregateError)) return { error, name };
      return { error, name, errors: structuredClone(thrown.errors) };
    } catch {
      const error = new Error(String(thrown.message), { cause: Deno.inspect(thrown.cause) });
      error.stack = String(thrown.stack);
      return { error, name };
    }
  } catch {
    // A getter has thrown.
    return { error: new Error("the thrown value can't be read"), name: "Error" };
  }
}

/** Restores the name of a posted error, and its class if that is a class of Deno. */
export function fromPostedError({ error, name, errors }: PostedError): Error {
  const define = (property: string, value: unknown) =>
    Object.defineProperty(error, property, { value, writable: true, configurable: true });
  if (errors !== undefined) {
    Object.setPrototypeOf(error, AggregateError.prototype);
    define("errors", errors);
  }
  if (Object.hasOwn(Deno.errors, name)) {
    const Class = Deno.errors[name as keyof typeof Deno.errors];
    Object.setPrototypeOf(error, Class.prototype);
  }
  if (error.name !== name) define("name", name);
  return error;
}

/** Errors that a worker posts. */

/**
 * An error in a form for posting. Cloning keeps its message, its stack and its causes, but neither
 * a class nor a name of Deno's.
 */
export interface PostedError {
  readonly error: Error;
  readonly name: string;
  /** The errors of an `AggregateError`. */
  readonly errors?: unknown[];
}

/** Prepares an error, or any other thrown value, for posting; never throws. */
export function toPostedError(thrown: unknown): PostedError {
  try {
    if (!(thrown instanceof Error)) {
      return {
        error: new Error(typeof thrown === "string" ? thrown : Deno.inspect(thrown)),
        name: "Error",
      };
    }
    // JavaScript lets all of these properties be of any type.
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
    // A getter may have thrown.
    return { error: new Error("what was thrown can't be read"), name: "Error" };
  }
}

/** Gives a posted error its name back, and its class if that is a class of Deno. */
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

import { checkString, notAllowedError } from "../../internal/checks.ts";
import { quote } from "../../internal/quote.ts";

/** A method whose requests can have a body: `PUT`, `POST` or `PATCH`. */
export type MethodWithBody = "PUT" | "POST" | "PATCH";

/** A supported method (RFC 9110 §9.3, without CONNECT and TRACE, and RFC 5789). */
export type Method = "GET" | "HEAD" | "DELETE" | "OPTIONS" | MethodWithBody;

export interface MethodTraits {
  /** Whether the method doesn't change the state of a server (RFC 9110 §9.2.1). */
  readonly isSafe: boolean;
  /** Whether a request can have a body. */
  readonly mayHaveBody: boolean;
  /** RFC 9110 §14.2: only GET defines a range, and HEAD has the headers of GET. */
  readonly definesRange: boolean;
}

export const METHODS: {
  readonly [M in Method]: MethodTraits & {
    readonly mayHaveBody: M extends MethodWithBody ? true : false;
  };
} = {
  GET: { isSafe: true, mayHaveBody: false, definesRange: true },
  HEAD: { isSafe: true, mayHaveBody: false, definesRange: true },
  DELETE: { isSafe: false, mayHaveBody: false, definesRange: false },
  PUT: { isSafe: false, mayHaveBody: true, definesRange: false },
  POST: { isSafe: false, mayHaveBody: true, definesRange: false },
  PATCH: { isSafe: false, mayHaveBody: true, definesRange: false },
  OPTIONS: { isSafe: true, mayHaveBody: false, definesRange: false },
};

// `Object.keys` returns the type `string[]`.
export const METHOD_NAMES: readonly Method[] = Object.keys(METHODS) as Method[];

export function isMethod(text: unknown): text is Method {
  return typeof text === "string" && Object.hasOwn(METHODS, text);
}

export function isSafeMethod(method: string): boolean {
  return isMethod(method) && METHODS[method].isSafe;
}

export function mayHaveBody(method: string): boolean {
  return isMethod(method) && METHODS[method].mayHaveBody;
}

export function checkMethod(method: Method, label = "method"): void {
  if (isMethod(method)) return;
  checkString(label, method);
  throw notAllowedError(label, `must be ${formatList(METHOD_NAMES)}; got ${quote(method)}`);
}

export function bodyNotAllowedError(method: Method): Error {
  const names = METHOD_NAMES.filter(mayHaveBody);
  return notAllowedError(
    "body",
    `must be null if the method is ${method}, since only ${
      formatList(names, "and")
    } have a body; buildUri(path, parameters) puts parameters in the URI`,
  );
}

function formatList(names: readonly string[], conjunction: "and" | "or" = "or"): string {
  return `${names.slice(0, -1).join(", ")} ${conjunction} ${names.at(-1)}`;
}

import { checkString, notAllowedError } from "../../internal/checks.ts";
import { quote } from "../../internal/quote.ts";

/** The supported methods (RFC 9110 §9.3, without CONNECT, OPTIONS and TRACE). */
export type Method = "GET" | "HEAD" | "DELETE" | "PUT" | "POST";

type MethodWithBody = "PUT" | "POST";

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
};

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
  throw notAllowedError(label, `must be GET, HEAD, DELETE, PUT or POST; got ${quote(method)}`);
}

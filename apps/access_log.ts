import { checkFunction, copyOptions } from "../internal/checks.ts";
import type { Exchange } from "../base/app/exchange_recorder.ts";

/**
 * Makes an `onExchange` that writes a line of the common log format for each exchange, in UTC and
 * always with `HTTP/1.1`:
 *
 * `127.0.0.1 - - [02/Jan/2026:03:04:05 +0000] "GET /path HTTP/1.1" 200 512`
 *
 * The third field is the user: `session.user`, unless the options say otherwise. A missing host,
 * user, status or number of bytes is replaced by a `-`. The line has no line feed. Text from a peer
 * can't end the line, a field or its quotes: all characters other than printable ASCII, and `"` and
 * `\`, are escaped as `\xHH` or `\uHHHH`; in the user also a space. The line contains the query of
 * the request, which may hold secrets.
 *
 * @param options How lines are printed, and the way to name the user.
 * @throws {TypeError} if an option is of a wrong type or unknown, or `print` is missing.
 *
 * @example
 * ```ts
 * import { accessLog, Client, Server } from "@degu/degu";
 * import { assertMatch } from "@std/assert";
 *
 * const lines: string[] = [];
 * const app = () => [200, "OK", {}, null] as const;
 * const onExchange = accessLog({ print: (line) => lines.push(line) });
 * await using server = await Server.start(["127.0.0.1", 0], app, { onExchange });
 * await new Client(server.address).request("GET", "/hello");
 * assertMatch(lines[0]!, /^127\.0\.0\.1 - - \[.* \+0000\] "GET \/hello HTTP\/1\.1" 200 -$/);
 * ```
 */
export function accessLog(options: {
  /** Prints a line, for example `console.log`. The server logs an error, also of a promise. */
  print: (line: string) => unknown;
  /**
   * Returns the user of an exchange, or `null`; for example a user that a middleware has stored in
   * `request.store`.
   *
   * @default {`session.user`}
   */
  user?: ((exchange: Exchange) => string | null) | undefined;
}): (exchange: Exchange) => unknown {
  const { print, user = ({ session }: Exchange) => session.user } = copyOptions(options, [
    "print",
    "user",
  ]);
  checkFunction("print", print);
  checkFunction("user", user);
  let lastSecond = -1;
  let time = "";
  return (exchange) => {
    const currentSecond = Math.floor(Date.now() / 1000);
    // Format the time once per second, because that costs more than the rest of the line.
    if (currentSecond !== lastSecond) {
      time = formatTime(new Date((lastSecond = currentSecond) * 1000));
    }
    return print(formatLine(exchange, user(exchange), time));
  };
}

function formatLine(exchange: Exchange, user: string | null, time: string): string {
  const { session, method, uri, status, responseBytes } = exchange;
  const host = session.address?.[0] ?? "-";
  const request = `${escape(method)} ${escape(uri)} HTTP/1.1`;
  const bytes = responseBytes === 0 ? "-" : responseBytes;
  const name = user ? escape(user).replaceAll(" ", "\\x20") : "-";
  return `${escape(host)} - ${name} [${time}] "${request}" ${status ?? "-"} ${bytes}`;
}

function formatTime(time: Date): string {
  const [, day, month, year, timeOfDay] = time.toUTCString().split(" ");
  return `${day}/${month}/${year}:${timeOfDay} +0000`;
}

/**
 * Escapes characters that could end a line or its quotes, or look like other characters, so that a
 * client can't forge log lines.
 */
function escape(text: string): string {
  return text.replace(/[^ !#-[\]-~]/g, (unit) => {
    const code = unit.charCodeAt(0);
    return code < 256
      ? `\\x${code.toString(16).padStart(2, "0")}`
      : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

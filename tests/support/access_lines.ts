/** Reads lines of an access log, as strictly as a program that analyzes them. */

const LINE = new RegExp(
  [
    /^(?<host>[^ ]+) - (?<user>(?:[!#-[\]-~]|\\x[0-9a-f]{2}|\\u[0-9a-f]{4})+) /,
    /\[\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000\] /,
    /"(?<request>(?:[ !#-[\]-~]|\\x[0-9a-f]{2}|\\u[0-9a-f]{4})*)" /,
    /(?<status>\d{3}|-) (?<bytes>\d+|-)$/,
  ].map(({ source }) => source).join(""),
);

/** Reads a line, and undoes its escapes; `null` where it is none. */
export function readAccessLine(line: string) {
  const { host, user, request, status, bytes } = LINE.exec(line)?.groups ?? {};
  if (host === undefined || user === undefined || request === undefined) return null;
  return {
    host,
    /** `null` where there is a dash, as in `status`. */
    user: user === "-" ? null : unescape(user),
    request: unescape(request),
    status: status === "-" ? null : Number(status),
    bytes: bytes === "-" ? 0 : Number(bytes),
  };
}

function unescape(text: string): string {
  return text.replace(
    /\\(?:x(..)|u(....))/g,
    (_, byte, unit) => String.fromCharCode(parseInt(byte ?? unit, 16)),
  );
}

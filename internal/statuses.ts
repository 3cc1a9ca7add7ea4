/** RFC 9110 §15.4. */
const REDIRECT_STATUSES: ReadonlySet<unknown> = new Set([301, 302, 303, 307, 308]);

export function isRedirectStatus(status: unknown): boolean {
  return REDIRECT_STATUSES.has(status);
}

/** Statuses of an overloaded server or proxy (RFC 9110 §15.5, §15.6; RFC 6585 §4). */
const BUSY_STATUSES: ReadonlySet<unknown> = new Set([408, 429, 502, 503, 504]);

export function isBusyStatus(status: unknown): boolean {
  return BUSY_STATUSES.has(status);
}

export function isUnprocessedStatus(status: unknown): boolean {
  return status === 429 || status === 503;
}

/** RFC 9110 §15, RFC 6585 §3 to §6, and RFC 4918 §11.5 for 507. */
const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  201: "Created",
  202: "Accepted",
  203: "Non-Authoritative Information",
  204: "No Content",
  205: "Reset Content",
  206: "Partial Content",
  300: "Multiple Choices",
  301: "Moved Permanently",
  302: "Found",
  303: "See Other",
  304: "Not Modified",
  305: "Use Proxy",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  401: "Unauthorized",
  402: "Payment Required",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  407: "Proxy Authentication Required",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  411: "Length Required",
  412: "Precondition Failed",
  413: "Content Too Large",
  414: "URI Too Long",
  415: "Unsupported Media Type",
  416: "Range Not Satisfiable",
  417: "Expectation Failed",
  421: "Misdirected Request",
  422: "Unprocessable Content",
  426: "Upgrade Required",
  428: "Precondition Required",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
  507: "Insufficient Storage",
  511: "Network Authentication Required",
};

export function findReasonPhrase(status: number): string | undefined {
  return REASONS[status];
}

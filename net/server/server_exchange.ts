import type { OutgoingResponse } from "../../base/app/app_result.ts";
import type { Request } from "../../base/app/message.ts";
import type { BodyIn } from "../../base/body/body.ts";
import type { Method } from "../../base/wire/method.ts";
import type { ExchangeRecorder } from "../../base/app/exchange_recorder.ts";
import type { SessionEnd } from "./session_end.ts";
import type { UnframedBody } from "./unframed_body.ts";

/** One exchange at the server: a request, whose body may end later, and its response. */
export class ServerExchange {
  readonly request: Request;
  /** The method and the body of the request, which the app may change in its `Request`. */
  readonly method: Method;
  readonly body: BodyIn;
  readonly isCloseRequested: boolean;
  readonly isHttp10: boolean;
  readonly recorder: ExchangeRecorder | null;
  isBodyUnread: boolean;
  /**
   * The error with which the client broke the framing of the body before a byte of the response was
   * sent. The response is sent, and is the last one.
   */
  bodyError: unknown = null;
  appResult: unknown = undefined;
  /** The response that is being sent. It was validated, so only its body source can fail. */
  response: OutgoingResponse | null = null;
  /** The end of the session, if the response has `connection: close`. */
  announcedEnd: SessionEnd | null = null;
  /** Whether a body of unknown length is being sent. */
  isStreaming = false;
  /**
   * The body for a client of HTTP/1.0, while it is collected or sent. It is sent without a framing
   * header: the end of the connection is its end.
   */
  unframedBody: UnframedBody | null = null;

  constructor(
    request: Request,
    body: BodyIn,
    isCloseRequested: boolean,
    isHttp10: boolean,
    recorder: ExchangeRecorder | null,
  ) {
    this.request = request;
    this.method = request.method;
    this.body = body;
    this.isBodyUnread = body !== null;
    this.isCloseRequested = isCloseRequested;
    this.isHttp10 = isHttp10;
    this.recorder = recorder;
  }
}

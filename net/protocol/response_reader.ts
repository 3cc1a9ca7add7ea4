import type { ReadBuffer } from "../../base/body/byte_io.ts";
import { ProtocolError } from "../../base/errors.ts";
import type { Method } from "../../base/wire/method.ts";
import {
  checkInterimResponse,
  checkResponsePrefix,
  mayBeginResponse,
  parseResponsePreamble,
  type ResponsePreamble,
} from "../../base/wire/preamble.ts";
import { PreambleSearch } from "./preamble_search.ts";

/** Interim responses before a response: a server could send them without end. */
const MAX_INTERIM_RESPONSES = 32;

/** Reads the preambles of the responses of a connection. */
export class ResponseReader extends PreambleSearch {
  /** The number of interim responses to the current request that have arrived. */
  interimCount = 0;

  constructor(buffer: ReadBuffer) {
    super(buffer, checkResponsePrefix);
  }

  /** Returns the next preamble, also of an interim response; `null` if more bytes are needed. */
  read(method: Method): ResponsePreamble | null {
    const preambleEnd = this.findEnd();
    if (preambleEnd < 0) return null;
    const { bytes, start } = this.buffer;
    const preamble = parseResponsePreamble(method, bytes, start, preambleEnd);
    const { status } = preamble;
    const isInterim = status < 200;
    if (isInterim) checkInterimResponse(preamble);
    this.buffer.start = preambleEnd;
    if (isInterim && this.interimCount === MAX_INTERIM_RESPONSES) {
      throw tooManyInterimError(status);
    }
    this.interimCount = isInterim ? this.interimCount + 1 : 0;
    return preamble;
  }

  /** Whether the buffered bytes begin no response. */
  get hasExcessBytes(): boolean {
    const { bytes, start, end } = this.buffer;
    return end > start && !mayBeginResponse(bytes, start, end);
  }
}

function tooManyInterimError(status: number): ProtocolError {
  return new ProtocolError(
    "UNEXPECTED_STATUS",
    `status ${status}: more than ${MAX_INTERIM_RESPONSES} interim responses`,
  );
}

/** Changes of net/ that no test can detect, for `deno task mutate`: see tools/mutants.ts. */

import type { EquivalentMutants } from "../../tools/mutants.ts";

export const EQUIVALENT_MUTANTS: EquivalentMutants = {
  "net/addresses.ts": {
    "endpointOf": [
      ["true", "false", "the name begins with NUL, so a byte order mark is never first"],
    ],
  },
  "net/connect.ts": {
    "connectSocket": [
      [
        'endpoint.transport === "tcp"',
        "false",
        "the wait ends either way; the signal frees the socket a little sooner",
      ],
    ],
  },
  "net/exchange_watch.ts": {
    "ExchangeWatch.#scan": [
      [
        "this.#rest.length > 0",
        "this.#rest.length >= 0",
        "a copy is counted as well, and costs more",
      ],
      ["this.#rest.length > 0", "true", "a copy is counted as well, and costs more"],
      ["at === end", "false", "no bytes are a rest of no bytes, too"],
    ],
    "ExchangeWatch.end": [
      ["error === null && last !== null", "false", "the time is asked for a moment later"],
      ["!==", "===", "the same: without an error there was a last byte"],
    ],
  },
  "net/held_socket.ts": {
    "duplicateDescriptor": [
      ["findCreateHandle() === null", "false", "in this version of Deno there is one"],
    ],
  },
  "net/incoming_body.ts": {
    "ConnectionSource.isShared": [
      ["false", "true", "a second check passes, and costs more, as smaller reads do"],
    ],
  },
  "net/message_sink.ts": {
    "MessageSink.write": [
      ["length > 0", "true", "the preamble alone, as it would go out anyway, or nothing"],
      ["length > 0", "length >= 0", "the preamble alone, as it would go out anyway, or nothing"],
    ],
  },
  "net/request_signal.ts": {
    "RequestAbort.#fired": [
      ["false", "true", "each request with a signal sets it"],
    ],
  },
  "net/tls/admission.ts": {
    "Admission.#expectExpiry": [
      [
        "Math.max(since + this.#timeout * 1000 - performance.now(), 0)",
        "Math.max(since + this.#timeout * 1000 - performance.now(), 1)",
        "no timer is shorter than a millisecond",
      ],
    ],
  },
  "net/tls/authority.ts": {
    "Authorities.#issuersOf": [
      ["||", "&&", "it decides only which key is tried first"],
      ["!==", "===", "it decides only which key is tried first"],
    ],
    "readCertificate": [
      ["found !== undefined", "false", "it is a cache"],
    ],
  },
  "net/tls/client_handshake.ts": {
    "connectStream": [
      ["true", "false", "it is about speed"],
    ],
  },
  "net/tls/context.ts": {
    "readAuthorities": [
      ["authorities.has(fingerprint)", "false", "the same certificate replaces itself"],
    ],
  },
  "net/tls/der.ts": {
    "decodeTime": [
      ["year = 0", "year = 1", "the pattern matches all six parts or nothing"],
      ["month = 0", "month = 1", "the pattern matches all six parts or nothing"],
      ["day = 0", "day = 1", "the pattern matches all six parts or nothing"],
      ["hour = 0", "hour = 1", "the pattern matches all six parts or nothing"],
      ["minute = 0", "minute = 1", "the pattern matches all six parts or nothing"],
      ["second = 0", "second = 1", "the pattern matches all six parts or nothing"],
    ],
  },
  "net/tls/peer.ts": {
    "matchesDnsName": [
      ["dot > 0", "dot >= 0", "a canonical name does not begin with a dot"],
    ],
  },
  "net/tls/raw_stream.ts": {
    "makeDuplex": [
      ["room.length < MIN_ROOM", "true", "it costs memory and nothing else"],
    ],
    "freeMemory": [
      ["buffer.transfer(0)", "buffer.transfer(1)", "a byte is as good as none"],
    ],
  },
  "net/tls/server_handshake.ts": {
    "makeServerHandshake": [
      ["own.length < MAX_IDLE", "true", "it is a bound of memory"],
    ],
  },
  "net/tls/socket.ts": {
    "RELEASE_BYTES": [
      ["32768", "32769", "it is a bound of memory, one byte more or less"],
    ],
    "WRITE_BYTES": [
      ["262144", "262145", "it is the size of a piece"],
    ],
    "TlsSocket.#into": [
      ["new Uint8Array(0)", "new Uint8Array(1)", "each read sets it"],
    ],
    "TlsSocket.constructor": [
      ["this.#closed || this.#failure !== null", "false", "an error that nobody sees"],
    ],
    "TlsSocket.closeWrite": [
      [
        "this.#expect((done) => this.#socket.end(done), 0)",
        "this.#expect((done) => this.#socket.end(done), 1)",
        "nobody gets it",
      ],
    ],
    "TlsSocket.#receive": [
      [
        "this.#buffered > MAX_BYTES",
        "this.#buffered >= MAX_BYTES",
        "it is a bound of memory, one byte more or less",
      ],
    ],
    "TlsSocket.#take": [
      [
        "whole ? piece : piece.subarray(this.#taken, this.#taken + count)",
        "false ? piece : piece.subarray(this.#taken, this.#taken + count)",
        "a view of all of it is the same piece",
      ],
      [
        "this.#buffered < RELEASE_BYTES",
        "this.#buffered <= RELEASE_BYTES",
        "it is a bound of memory, one byte more or less",
      ],
      [
        "this.#held && this.#buffered < RELEASE_BYTES",
        "this.#held || this.#buffered < RELEASE_BYTES",
        "it is held again with the next piece that is too much",
      ],
    ],
  },
  "net/transport.ts": {
    "Transport.findPreamble": [
      [
        "end < 0 ? reader.buffered + 1 : end - reader.start",
        "end <= 0 ? reader.buffered + 1 : end - reader.start",
        "the end of a preamble is never at position 0",
      ],
      [
        "end < 0 || size > MAX_PREAMBLE_BYTES",
        "end <= 0 || size > MAX_PREAMBLE_BYTES",
        "the end of a preamble is never at position 0",
      ],
    ],
    "Transport.beginReceive": [
      ["reader.buffered === 0", "true", "what is buffered fits in what is left of the buffer"],
      ["reader.buffered === 0", "reader.buffered === 1", "it is the size of a buffer"],
    ],
    "Transport.linger": [
      [
        "if (this.#closed) return;",
        "if (false) return;",
        "what follows fails, and nothing is reported",
      ],
      [
        "encrypted ? LAST_CHANCES_ENCRYPTED : 1",
        "encrypted ? LAST_CHANCES_ENCRYPTED : 2",
        "20 ms more",
      ],
    ],
    "Transport.#viewOf": [
      ["this.#view.length !== length", "true", "a new view of the same bytes"],
    ],
    "Transport.#fit": [
      ["<=", "<", "it is the size of a buffer"],
      ["fitting < FIRST_BYTES", "fitting <= FIRST_BYTES", "it is set to what it is"],
    ],
    "Transport.endSend": [
      ["rest.length === 0", "false", "to write nothing takes a turn"],
    ],
    "Transport.#beginWrite": [
      ['this.#sent === "nothing"', "true", "nothing is written once it has failed"],
    ],
  },
  "net/until_signal.ts": {
    "SIGNALS": [
      ['Deno.build.os === "windows"', "false", "the tests of signals run on Linux"],
    ],
  },
};

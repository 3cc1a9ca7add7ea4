import type { Socket } from "../../base/app/app.ts";
import { ClientProtocol } from "../protocol/client_protocol.ts";
import { MessageSender } from "../transport/message_sender.ts";
import { Transport, type TransportUser } from "../transport/transport.ts";
import { stalledRequestError } from "./client_errors.ts";
import { IdleRead } from "./idle_read.ts";

/**
 * The transport of a client's connection with what reads and writes it. The channel doesn't refer
 * to the connection, which can so be garbage collected.
 */
export class ClientChannel implements TransportUser {
  readonly transport: Transport;
  readonly sender: MessageSender;
  readonly protocol: ClientProtocol;
  readonly idleRead: IdleRead;

  constructor(socket: Socket, timeout: number | null, unframedNull: boolean) {
    this.transport = new Transport(socket, timeout, this);
    this.sender = new MessageSender(this.transport, null);
    // A read of a `Deno.TlsConn`, which has no `protocol`, fails if the connection was cut.
    const isEndAmbiguous = socket.protocol !== undefined;
    this.protocol = new ClientProtocol(this.transport.readBuffer, unframedNull, isEndAmbiguous);
    this.idleRead = new IdleRead(this.transport, this.protocol, socket);
  }

  beforeRead(): null {
    return null;
  }

  onReadAhead(_count: number, error: unknown): void {
    this.idleRead.onRead(error);
  }

  get wait(): string | null {
    const { isReading, readCount, writeCount } = this.transport;
    return this.protocol.findWait(isReading, readCount, writeCount);
  }

  get writeTimeouts(): number {
    return 1;
  }

  findStall(timeout: number | null): Error | null {
    return this.protocol.exchange?.isStalling ? stalledRequestError(timeout) : null;
  }

  onClose(failure: unknown): boolean {
    this.sender.close(failure);
    return this.protocol.exchange?.incoming === "awaited";
  }
}

// Requests to Python over custom messages: {kind: "request", id, method, params} is answered by one
// {kind: "result", id, value} or {kind: "error", id, type, message, hint}. How far a job is stands in a trait. A request
// may be sent twice, see liveness.ts; it is done once.
import type { View } from "./model.ts";

interface Pending {
  message: { id: string; method: string };
  resolve(value: any): void;
  reject(error: unknown): void;
}

export class RequestError extends Error {
  readonly type: string;
  readonly hint: string | null;

  constructor(type: string, message: string, hint: string | null) {
    super(message);
    this.type = type;
    this.hint = hint;
  }
}

/** Whether a request failed only because it was stopped, or gave way to a newer one. */
export function stopped(error: unknown): boolean {
  return error instanceof RequestError && ["Cancelled", "Superseded", "Closed"].includes(error.type);
}

export class Rpc {
  private readonly pending = new Map<string, Pending>();
  private readonly prefix = Math.random().toString(36).slice(2, 10);
  private count = 0;

  constructor(private readonly view: View) {
    view.on("msg:custom", (message: any) => this.receive(message));
    view.line?.onReturn(() => {
      for (const { message } of this.pending.values()) view.model.send(message);
    });
    view.onClose(() => {
      for (const { reject } of this.pending.values()) reject(new RequestError("Closed", "this view was closed", null));
      this.pending.clear();
    });
  }

  request<T = any>(method: string, params: Record<string, unknown> = {}): Promise<T> {
    this.count += 1;
    const id = `${this.prefix}-${this.count}`;
    return new Promise<T>((resolve, reject) => {
      const message = { kind: "request", id, method, params };
      this.pending.set(id, { message, resolve, reject });
      if (!this.view.line) this.view.model.send(message);
      else if (!this.view.line.send(message)) {
        this.pending.delete(id);
        reject(new RequestError("Closed", "the kernel is gone", null));
      }
    });
  }

  /** Ask Python to stop what was asked for under this name and has not been answered. */
  cancel(method: string): void {
    for (const [id, waiting] of this.pending) if (waiting.message.method === method) this.view.line?.send({ kind: "cancel", id });
  }

  private receive(message: any): void {
    const waiting = this.pending.get(message?.id);
    if (!waiting) return; // another view's
    this.pending.delete(message.id);
    if (message.kind === "result") waiting.resolve(message.value);
    else waiting.reject(new RequestError(message.type, message.message, message.hint ?? null));
  }
}

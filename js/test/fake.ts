// A model that lives in the test: what the widget sends is recorded, answers are given by hand.
import type { Host, Model } from "../src/lib/model.ts";

type Listener = (...args: any[]) => void;

export class FakeModel implements Model {
  readonly sent: any[] = [];
  readonly saved: Array<Record<string, unknown>> = [];
  readonly listeners = new Map<string, Set<Listener>>();
  private pending: Record<string, unknown> = {};

  constructor(readonly state: Record<string, any>) {}

  get(key: string): any {
    return this.state[key];
  }
  set(key: string, value: unknown): void {
    if (this.state[key] === value) return;
    this.state[key] = value;
    this.pending[key] = value;
    this.emit(`change:${key}`);
  }
  save_changes(): void {
    this.saved.push(this.pending);
    this.pending = {};
  }
  on(event: string, callback: Listener): void {
    if (!this.listeners.has(event)) this.listeners.set(event, new Set());
    this.listeners.get(event)!.add(callback);
  }
  off(event: string, callback: Listener): void {
    this.listeners.get(event)?.delete(callback);
  }
  send(content: any): void {
    this.sent.push(content);
  }
  emit(event: string, ...args: unknown[]): void {
    for (const callback of [...(this.listeners.get(event) ?? [])]) callback(...args);
  }
  /** As if Python had set these traits together. */
  update(changes: Record<string, unknown>): void {
    Object.assign(this.state, changes);
    for (const key of Object.keys(changes)) this.emit(`change:${key}`);
  }
  /** The same, taken one after the other, as marimo does. */
  updateInTurn(changes: Record<string, unknown>): void {
    for (const [key, value] of Object.entries(changes)) this.update({ [key]: value });
  }
  last(method: string): any {
    return this.sent.filter((message) => message.method === method).at(-1);
  }
  async answer(request: any, value: unknown): Promise<void> {
    this.emit("msg:custom", { kind: "result", id: request.id, value });
    await Promise.resolve();
    await Promise.resolve();
  }
  async refuse(request: any, message: string, hint: string): Promise<void> {
    this.emit("msg:custom", { kind: "error", id: request.id, type: "BadPrompt", message, hint });
    await new Promise((resolve) => setTimeout(resolve));
  }
  get listening(): number {
    return [...this.listeners.values()].reduce((sum, set) => sum + set.size, 0);
  }
}

export function mount(module: { render(args: any): () => void }, state: Record<string, any>, host?: Host) {
  const model = new FakeModel(state);
  const el = document.createElement("div");
  document.body.replaceChildren(el);
  const close = module.render(host ? { model, el, host } : { model, el });
  return { model, el, close, all: (selector: string) => [...el.querySelectorAll<HTMLElement>(selector)], one: (selector: string) => el.querySelector<HTMLElement>(selector)! };
}

export function key(element: Element, name: string): void {
  element.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true, cancelable: true }));
}

export function choose(select: HTMLElement, value: string): void {
  (select as HTMLSelectElement).value = value;
  select.dispatchEvent(new Event("change"));
}

/** What the page saves from now on, as [name, text]. */
export function watchDownloads(): Array<[name: string, text: string]> {
  const files: Array<[string, string]> = [];
  const blobs = new Map<string, string>();
  const real = globalThis.Blob;
  globalThis.Blob = class extends real {
    readonly parts: string;
    constructor(parts: BlobPart[] = [], options?: BlobPropertyBag) {
      super(parts, options);
      this.parts = parts.map(String).join("");
    }
  } as typeof Blob;
  URL.createObjectURL = (blob: Blob) => {
    const url = `blob:${blobs.size}`;
    blobs.set(url, (blob as any).parts);
    return url;
  };
  HTMLAnchorElement.prototype.click = function click(this: HTMLAnchorElement) {
    files.push([this.getAttribute("download")!, blobs.get(this.getAttribute("href")!)!]);
  };
  return files;
}

export const row = (rank: number, extra: Record<string, unknown> = {}) => ({
  rank,
  tokens: ["<bos>", "When", ` name${rank}`],
  at: [0, 1, 2],
  info: [0, -0.5, 2],
  text: `When name${rank}`,
  d: rank / 10,
  weight: 1 / (rank + 2),
  weight_in_rates: 1 / (rank + 2),
  count: 1,
  in_ball: rank < 2,
  is_copy: rank === 0,
  on_support: true,
  log_q: -3,
  log_no_condition: -8.5,
  log_prior: -9,
  relative_norm: 0.1,
  cosine: 0.99,
  ...extra,
});

export const summary = (extra: Record<string, unknown> = {}) => ({
  verdict: "RELIABLE",
  verdict_words: "Reliable.",
  verdict_reason: "Effective sample size 30 of 64.",
  remarks: ["One direction holds <b>91%</b> of this site's variance."],
  n: 64,
  distinct: 4,
  inside: 2,
  fixed: null,
  ess: 30.2,
  khat: 0.1,
  bits: 5.2,
  bits_stderr: 0.2,
  bits_bound: 12.34,
  copy_share: 0.1,
  off_support_share: 0,
  ball_edge: 0.15,
  bandwidth: 0.1,
  drawn_at: 0.1,
  site: "blocks.0.hook_resid_post",
  tokens: ["<bos>", "When", " Mary"],
  text: "<bos>When Mary",
  prior: "toy",
  prior_is_exact: true,
  info_max: 2,
  info_clipped: false,
  histogram: { edges: [0, 0.1, 0.2, 0.3], posterior: [0.7, 0.2, 0.1], prior: [0, 0.1, 0.9], weighed: true },
  ...extra,
});

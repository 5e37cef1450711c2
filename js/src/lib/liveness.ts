// Is there still a kernel behind the widget? A restart closes the line without a word: traits that are set go
// nowhere, messages throw. So whoever writes asks for a sign of life. Without one for a while the outermost view says
// so and goes on asking; where the line is closed, or nothing comes for long, it takes its controls out of use. What is
// shown stays readable.
//
// What is sent can also be late without anything being wrong: JupyterLab has widgets heard on a thread of their own, but
// what it sends before there is that thread waits behind the cells that run. So the first questions come soon after
// one another, and once one is answered what was asked for before is sent once more; Python knows it by its id.
import { h } from "./dom.ts";
import type { View } from "./model.ts";

const PAUSES_MS = [1000, 2000, 5000];
const PAUSE_MS = 8000;
/** Questions without an answer after which that is said. */
const SILENT_AFTER = PAUSES_MS.length;
/** And after which controls are taken out of use until one comes. */
const LONG_AFTER = SILENT_AFTER + 3;
const EVENT = "isn-line";
const SILENT = "No answer from the kernel for a while: it is busy, or it was restarted; after a restart, run the notebook again. This is the last result.";
const LONG = "No answer from the kernel: it is busy with something else, and this goes on once it has time. If it was restarted, run the notebook again, from its first cell. This is the last result.";
const CLOSED = "The kernel behind this was restarted or has ended. This is the last result; run the notebook again, from its first cell, to go on.";
/** What works without a kernel: details of an input, files, an error's own cross, copying code. */
const LOCAL = ".isn-toggle, .isn-link, summary, .isn-error button, .isn-code button";

type State = "open" | "silent" | "long" | "closed";
const WORDS: Record<State, string> = { open: "", silent: SILENT, long: LONG, closed: CLOSED };

export class Liveness {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private state: State = "open";
  private tries = 0;
  private count = 0;
  private readonly prefix = Math.random().toString(36).slice(2, 10);
  private readonly returned: Array<() => void> = [];

  constructor(private readonly view: View) {
    view.on("msg:custom", (message: any) => this.heard(String(message?.id)));
    view.on("comm_live_update", () => this.check());
    view.onClose(() => clearTimeout(this.timer));
  }

  /** Ask Python for a sign of life, and again for as long as none comes. */
  check(): void {
    if (this.view.model.get("frozen") || this.timer !== undefined || this.view.signal.aborted) return;
    this.timer = setTimeout(() => this.unheard(), PAUSES_MS[this.tries] ?? PAUSE_MS);
    this.count += 1;
    try {
      this.view.model.send({ kind: "request", id: `${this.prefix}-ping-${this.count}`, method: "ping", params: {} });
    } catch {
      this.closed();
    }
  }

  /** Send something that ought to be answered; false where that cannot be. */
  send(message: unknown): boolean {
    try {
      this.view.model.send(message);
      this.check();
      return true;
    } catch {
      this.closed();
      return false;
    }
  }

  onReturn(callback: () => void): void {
    this.returned.push(callback);
  }

  /** Any message shows that somebody is there; that what was sent has arrived, only the answer to a question does. */
  private heard(id: string): void {
    this.tell("open");
    if (!id.startsWith(`${this.prefix}-ping-`)) return;
    const late = this.tries > 0;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.tries = 0;
    if (late) for (const callback of this.returned) callback();
  }

  private unheard(): void {
    this.timer = undefined;
    this.tries += 1;
    if (this.tries >= SILENT_AFTER) this.tell(this.tries < LONG_AFTER ? "silent" : "long");
    this.check();
  }

  private closed(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.tell("closed");
  }

  private tell(state: State): void {
    if (state === this.state) return;
    this.state = state;
    this.view.root.dispatchEvent(new CustomEvent(EVENT, { bubbles: true, detail: state }));
  }
}

/** The note of the outermost view, for itself and its children. */
export function livenessNote(root: HTMLElement): HTMLElement {
  const note = h("p", { class: "isn-no-kernel", role: "alert" });
  note.hidden = true;
  const off = new Set<HTMLButtonElement>();
  root.addEventListener(EVENT, (event) => {
    if (root.parentElement?.closest(".isn")) return; // a child: the event goes on to its parent
    const state = (event as CustomEvent<State>).detail;
    note.hidden = state === "open";
    note.textContent = WORDS[state];
    for (const control of off) control.disabled = false;
    off.clear();
    if (state === "open" || state === "silent") return;
    for (const control of root.querySelectorAll<HTMLButtonElement>("button, input, select, textarea")) {
      if (control.disabled || control.matches(LOCAL)) continue;
      control.disabled = true;
      off.add(control);
    }
  });
  return note;
}

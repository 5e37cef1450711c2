// Is there still a kernel behind the widget? A restart closes the line without a word: traits that are set go
// nowhere, messages throw. So whoever writes asks for a sign of life, and without one the outermost view says so and
// takes its controls out of use; what is shown stays readable.
import { h } from "./dom.ts";
import type { View } from "./model.ts";

export const PATIENCE_MS = 8000;
const GONE = "isn-gone";
const BACK = "isn-back";
const WORDS = "No answer from the kernel: it was restarted, or is busy. This is the last result; run the cell again to go on.";

export class Liveness {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private gone = false;
  private count = 0;

  constructor(private readonly view: View) {
    view.on("msg:custom", () => this.heard());
    view.on("comm_live_update", () => this.check());
    view.onClose(() => clearTimeout(this.timer));
  }

  /** Ask Python for a sign of life. */
  check(): void {
    if (this.view.model.get("frozen") || this.timer !== undefined) return;
    this.timer = setTimeout(() => this.lost(), PATIENCE_MS);
    this.count += 1;
    try {
      this.view.model.send({ kind: "request", id: `ping-${this.count}`, method: "ping", params: {} });
    } catch {
      this.lost();
    }
  }

  /** Send something that ought to be answered; false where that cannot be. */
  send(message: unknown): boolean {
    try {
      this.view.model.send(message);
      this.check();
      return true;
    } catch {
      this.lost();
      return false;
    }
  }

  private heard(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (!this.gone) return;
    this.gone = false;
    this.view.root.dispatchEvent(new CustomEvent(BACK, { bubbles: true }));
  }

  private lost(): void {
    this.gone = true;
    this.view.root.dispatchEvent(new CustomEvent(GONE, { bubbles: true }));
  }
}

/** The note of the outermost view, for itself and its children. */
export function livenessNote(root: HTMLElement): HTMLElement {
  const note = h("p", { class: "isn-no-kernel", role: "alert" });
  note.hidden = true;
  const isChild = () => root.parentElement?.closest(".isn") != null;
  const set = (gone: boolean) => (event: Event) => {
    if (isChild()) return;
    event.stopPropagation();
    root.inert = gone;
    note.hidden = !gone;
    note.textContent = gone ? WORDS : "";
  };
  root.addEventListener(GONE, set(true));
  root.addEventListener(BACK, set(false));
  return note;
}

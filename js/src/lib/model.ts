// The parts of anywidget's model and host that the widgets use.
import { Told } from "./told.ts";

export interface Model {
  get(key: string): any;
  set(key: string, value: unknown): void;
  save_changes(): void;
  on(event: string, callback: (...args: any[]) => void): void;
  off(event: string, callback: (...args: any[]) => void): void;
  send(content: unknown, callbacks?: unknown, buffers?: unknown): void;
}

export interface Host {
  getWidget(ref: string): Promise<{ render(args: { el: HTMLElement; signal?: AbortSignal }): Promise<void> }>;
}

/** A line to Python on which somebody ought to answer. */
export interface Line {
  check(): void;
  send(message: unknown): boolean;
  /** Call `callback` when an answer comes after one did not. */
  onReturn(callback: () => void): void;
}

export interface RenderArgs {
  model: Model;
  el: HTMLElement;
  host?: Host;
}

/** The view of this page that is just setting a trait; every widget has a module of its own, so the page keeps it. */
const WRITING = Symbol.for("inversescope.writing");
const page = globalThis as unknown as { [WRITING]?: View | null };

/** One view of a widget: what has to be undone when the view goes away, and where its errors are shown. */
export class View {
  readonly model: Model;
  readonly root: HTMLElement;
  readonly host: Host | undefined;
  line: Line | null = null;
  private readonly aborter = new AbortController();
  private readonly undo: Array<() => void> = [];
  private readonly told = new Map<string, Told>();
  private readonly report: (error: unknown) => void;

  constructor(args: RenderArgs, root: HTMLElement, report: (error: unknown) => void) {
    this.model = args.model;
    this.host = args.host;
    this.root = root;
    this.report = report;
  }

  get signal(): AbortSignal {
    return this.aborter.signal;
  }

  /** Call `callback` now and whenever one of the traits changes. Errors are shown, never lost. */
  follow(traits: string[], callback: () => void): void {
    const safe = this.safely(callback);
    for (const trait of traits) {
      this.model.on(`change:${trait}`, safe);
      this.undo.push(() => this.model.off(`change:${trait}`, safe));
    }
    callback();
  }

  on(event: string, callback: (...args: any[]) => void): void {
    const safe = this.safely(callback);
    this.model.on(event, safe);
    this.undo.push(() => this.model.off(event, safe));
  }

  /** Set a trait in Python; if nobody is there to hear it, the view will say so. */
  write(trait: string, value: unknown): void {
    this.toldOf(trait).tell(value);
    const before = page[WRITING];
    page[WRITING] = this;
    try {
      this.model.set(trait, value);
    } finally {
      page[WRITING] = before;
    }
    this.model.save_changes();
    this.line?.check();
  }

  private toldOf(trait: string): Told {
    const known = this.told.get(trait);
    if (known) return known;
    const told = new Told();
    this.told.set(trait, told);
    this.on(`change:${trait}`, () => {
      if (page[WRITING] === this) return;
      if (page[WRITING]) told.forget(); // another view of this page says something newer
      else if (told.isOlder(this.model.get(trait))) this.model.set(trait, told.last);
    });
    return told;
  }

  onClose(callback: () => void): void {
    this.undo.push(callback);
  }

  safely<Args extends unknown[]>(callback: (...args: Args) => void): (...args: Args) => void {
    return (...args: Args) => {
      if (this.signal.aborted) return;
      try {
        callback(...args);
      } catch (error) {
        this.report(error);
      }
    };
  }

  fail(error: unknown): void {
    if (!this.signal.aborted) this.report(error);
  }

  close(): void {
    this.aborter.abort();
    for (const callback of this.undo.splice(0)) callback();
  }
}

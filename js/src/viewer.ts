// A saved page: the widgets' own code on models that live in the page. There is no kernel, so what needs no
// computing works (paging, filtering, sorting, units) and the rest says that it does not.
import { h } from "./lib/dom.ts";
import type { Host, Model } from "./lib/model.ts";
import { unpacked } from "./lib/packed.ts";
import { type Row, select } from "./lib/rows.ts";

type Listener = (...args: any[]) => void;

interface Saved {
  root: string;
  /** `rows` are those of a gallery; `packed`: traits that are several such lists. */
  widgets: Record<string, { module: string; state: Record<string, any>; rows?: string; packed?: Record<string, string[]> }>;
  modules: Record<string, string>;
}

export class PageModel implements Model {
  private readonly listeners = new Map<string, Set<Listener>>();

  constructor(
    private readonly state: Record<string, any>,
    private readonly rows: Row[] | undefined,
  ) {}

  get(key: string): any {
    return this.state[key];
  }

  set(key: string, value: unknown): void {
    if (this.state[key] === value || this.state["frozen_traits"]?.includes(key)) return;
    this.state[key] = value;
    this.emit(`change:${key}`);
    if (key === "map_by" && this.state["maps"]) this.set("map_values", this.state["maps"][String(value)] ?? {}); // as Python would
  }

  save_changes(): void {
    // there is no kernel to tell
  }

  on(event: string, callback: Listener): void {
    if (!this.listeners.has(event)) this.listeners.set(event, new Set());
    this.listeners.get(event)!.add(callback);
  }

  off(event: string, callback: Listener): void {
    this.listeners.get(event)?.delete(callback);
  }

  send(content: any): void {
    if (content?.kind !== "request") return;
    const { id, method, params } = content;
    const answer =
      method === "page" && this.rows
        ? this.page(id, params)
        : method === "pick"
          ? { kind: "result", id, value: null }
          : { kind: "error", id, type: "NoKernel", message: "This page was saved: it has no kernel to compute with.", hint: "Open the notebook to go on." };
    queueMicrotask(() => this.emit("msg:custom", answer));
  }

  private page(id: string, { start, size, ...query }: any): Record<string, unknown> {
    try {
      return { kind: "result", id, value: select(this.rows!, query, start, size, this.state["revision"]) };
    } catch (error) {
      return { kind: "error", id, type: "InvalidArgument", message: `This pattern cannot be read: ${(error as Error).message}`, hint: null };
    }
  }

  private emit(event: string, ...args: unknown[]): void {
    for (const callback of [...(this.listeners.get(event) ?? [])]) callback(...args);
  }
}

const PREFIX = "anywidget:";

export async function show(saved: Saved, el: HTMLElement): Promise<void> {
  const models = new Map<string, Model>();
  for (const [id, { state, rows, packed }] of Object.entries(saved.widgets)) {
    for (const [trait, lists] of Object.entries(packed ?? {})) state[trait] = await Promise.all(lists.map(unpacked));
    models.set(id, new PageModel(state, rows === undefined ? undefined : await unpacked(rows)));
  }
  const urls = new Map<string, string>();
  const load = (name: string) => {
    if (!urls.has(name)) urls.set(name, URL.createObjectURL(new Blob([saved.modules[name] ?? ""], { type: "text/javascript" })));
    return import(/* @vite-ignore */ urls.get(name)!);
  };
  const draw = async (id: string, target: HTMLElement) => {
    const { default: module } = await load(saved.widgets[id]!.module);
    module.render({ model: models.get(id), el: target, host });
  };
  const host: Host = {
    async getWidget(ref) {
      const id = ref.slice(PREFIX.length);
      if (!saved.widgets[id]) throw new Error(`${id} was not saved with this page`);
      return { render: ({ el: target }) => draw(id, target) };
    },
  };
  await draw(saved.root, el);
}

const data = document.getElementById("isn-saved");
if (data) {
  const el = document.getElementById("isn-view")!;
  show(JSON.parse(data.textContent ?? "{}"), el).then(
    () => document.getElementById("isn-static")?.remove(),
    (error) => el.append(h("p", { class: "isn-note" }, `The interactive view could not start: ${error}`)),
  );
}

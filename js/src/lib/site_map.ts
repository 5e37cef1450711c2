// The map of the model: one row a layer, one column a component, heads unfolded under their layer.
// A grid with one tab stop: arrows move, Enter or a click chooses; left of a layer's cells is what unfolds its heads.
import { attr, focused, h } from "./dom.ts";

export interface SiteMap {
  n_layers: number;
  n_heads: number;
  /** The components of this model in forward order; `template` has {layer}, and {head} for heads. */
  kinds: Array<{ kind: string; label: string; template: string }>;
  head_template: string | null;
  /** Canonical names of the sites that a generator at hand was trained for. */
  available: string[];
}

/** What colours the cells: a number for each site, with its words. */
export interface MapValues {
  label?: string;
  unit?: string;
  max?: number;
  /** What they were measured at, in words. */
  where?: string;
  values?: Record<string, { value: number | null; words: string; doubtful: boolean; coarse?: boolean }>;
}

interface Cell {
  site: string;
  row: number;
  column: number;
  button: HTMLElement;
}

/** Of a model of at most so many layers, all heads that have a value are unfolded. */
const UNFOLDED = 8;
const HEAD = /^(.*\{layer\}.*)\.\{head\}$/;

export class SiteMapView {
  readonly element = h("div", { class: "isn-map", role: "grid", "aria-label": "Where the activation is read: layer and component" });
  private readonly open = new Set<number>();
  private cells: Cell[] = [];
  private map: SiteMap | null = null;
  private site = "";
  private values: MapValues = {};
  private frozen = false;
  private focused: string | null = null;

  constructor(private readonly choose: (site: string) => void) {
    this.element.addEventListener("click", (event) => this.clicked(event));
    this.element.addEventListener("keydown", (event) => this.key(event));
  }

  /** With `frozen` the map only shows: nothing in it can be chosen. */
  update(map: SiteMap | null, site: string, frozen = false, values: MapValues | null = null): void {
    this.frozen = frozen;
    if (values?.values !== this.values.values && (map?.n_layers ?? 0) <= UNFOLDED) {
      for (const name of Object.keys(values?.values ?? {})) {
        const layer = this.headLayer(map, name);
        if (layer !== null) this.open.add(layer);
      }
    }
    this.values = values ?? {};
    if (site !== this.site) {
      this.focused = null;
      const layer = this.headLayer(map, site);
      if (layer !== null) this.open.add(layer);
    }
    this.map = map;
    this.site = site;
    this.draw();
  }

  /** The cell that is chosen. */
  focus(): void {
    (this.cells.find((cell) => cell.site === this.site) ?? this.cells[0])?.button.focus({ preventScroll: true });
  }

  private headLayer(map: SiteMap | null, site: string): number | null {
    if (!map?.head_template || !HEAD.test(map.head_template)) return null;
    for (let layer = 0; layer < map.n_layers; layer += 1) {
      if (site.startsWith(`${map.head_template.replace("{layer}", String(layer)).replace("{head}", "")}`)) return layer;
    }
    return null;
  }

  private draw(): void {
    const hadFocus = this.element.contains(focused(this.element));
    const scroll = this.element.scrollTop;
    this.cells = [];
    this.element.replaceChildren();
    const map = this.map;
    if (!map) return;
    const available = new Set(map.available);
    const head = h("div", { class: "isn-map-row isn-map-head", role: "row" }, h("span", { role: "columnheader" }, "layer"));
    for (const { label } of map.kinds) head.append(h("span", { role: "columnheader" }, label));
    this.element.append(head);
    this.element.style.setProperty("--isn-columns", String(map.kinds.length));
    let row = 0;
    for (let layer = 0; layer < map.n_layers; layer += 1) {
      const line = h("div", { class: "isn-map-row", role: "row" }, this.layerLabel(layer));
      map.kinds.forEach(({ template, label }, column) => {
        const site = template.replace("{layer}", String(layer));
        line.append(this.cell(site, `layer ${layer}, ${label}`, row, column, available.has(site), ""));
      });
      this.element.append(line);
      row += 1;
      if (map.head_template && this.open.has(layer)) {
        const heads = h("div", { class: "isn-map-heads", role: "row" }, h("span", { class: "isn-map-heads-label", role: "rowheader" }, "heads"));
        for (let index = 0; index < map.n_heads; index += 1) {
          const site = map.head_template.replace("{layer}", String(layer)).replace("{head}", String(index));
          heads.append(this.cell(site, `layer ${layer}, head ${index}`, row, index, available.has(site), String(index)));
        }
        this.element.append(heads);
        row += 1;
      }
    }
    this.element.scrollTop = scroll;
    if (this.frozen) return;
    const current = this.cells.find((cell) => cell.site === (this.focused ?? this.site)) ?? this.cells[0];
    current?.button.setAttribute("tabindex", "0");
    if (hadFocus) current?.button.focus({ preventScroll: true });
  }

  private layerLabel(layer: number): HTMLElement {
    if (!this.map?.head_template) return h("span", { class: "isn-map-layer", role: "rowheader" }, layer);
    const open = this.open.has(layer);
    const toggle = h(
      "button",
      { type: "button", class: "isn-map-toggle", tabindex: "-1", "data-layer": layer, "aria-expanded": open ? "true" : "false", "aria-label": `Heads of layer ${layer}`, title: open ? "Fold the heads" : "Show the heads" },
      h("span", { "aria-hidden": "true" }, open ? "\u25be" : "\u25b8"),
      layer,
    );
    return h("span", { class: "isn-map-layer", role: "rowheader" }, toggle);
  }

  private cell(site: string, words: string, row: number, column: number, known: boolean, text: string): HTMLElement {
    const look = `isn-map-cell${known ? "" : " isn-map-unknown"}`;
    const here = site === this.site;
    const button = this.frozen ? h("span", { class: look, role: "img" }, text) : h("button", { type: "button", class: look, tabindex: "-1" }, text);
    attr(button, this.frozen ? "aria-current" : "aria-pressed", here ? "true" : this.frozen ? null : "false");
    const value = this.values.values?.[site];
    if (this.values.values) {
      button.classList.add("isn-map-valued");
      button.classList.toggle("isn-map-none", value?.value == null);
      button.classList.toggle("isn-map-doubt", Boolean(value?.doubtful));
      button.classList.toggle("isn-map-coarse", Boolean(value?.coarse) && !value?.doubtful);
      button.style.setProperty("--isn-v", Math.min(1, Math.max(0, (value?.value ?? 0) / (this.values.max || 1))).toFixed(3));
    }
    const said = value ? `${this.values.label}: ${value.words}` : "";
    attr(button, "aria-label", `${words}${known ? "" : ", no generator"}${said && `, ${said}`}`);
    attr(button, "title", `${site}${known ? "" : " \u2014 no generator for this site yet"}${said && `\n${said}`}`);
    this.cells.push({ site, row, column, button });
    return h("span", { role: "gridcell", class: "isn-map-slot" }, button);
  }

  private clicked(event: MouseEvent): void {
    const toggle = (event.target as Element).closest<HTMLElement>(".isn-map-toggle");
    if (toggle) {
      this.fold(Number(toggle.dataset["layer"]));
      this.element.querySelector<HTMLElement>(`.isn-map-toggle[data-layer="${toggle.dataset["layer"]}"]`)?.focus();
      return;
    }
    const button = (event.target as Element).closest("button");
    const cell = this.cells.find((candidate) => candidate.button === button);
    if (cell) {
      this.focused = cell.site;
      this.choose(cell.site);
    }
  }

  private fold(layer: number): void {
    if (this.open.has(layer)) this.open.delete(layer);
    else this.open.add(layer);
    this.draw();
  }

  /** From what unfolds a layer's heads: right to its cells, up and down to the other layers'. */
  private keyOnToggle(event: KeyboardEvent, toggle: HTMLElement): void {
    const toggles = [...this.element.querySelectorAll<HTMLElement>(".isn-map-toggle")];
    const index = toggles.indexOf(toggle);
    const cell = () => this.cells.find((candidate) => candidate.column === 0 && candidate.button.closest(".isn-map-row") === toggle.closest(".isn-map-row"));
    const head = () => toggle.closest(".isn-map-row")!.nextElementSibling?.querySelector<HTMLElement>(":scope.isn-map-heads button");
    const next = event.key === "ArrowRight" ? cell()?.button : event.key === "ArrowDown" ? (head() ?? toggles[index + 1]) : event.key === "ArrowUp" ? toggles[index - 1] : undefined;
    if (!next) return;
    event.preventDefault();
    event.stopPropagation();
    next.focus();
  }

  private key(event: KeyboardEvent): void {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const toggle = (event.target as Element).closest<HTMLElement>(".isn-map-toggle");
    if (toggle) this.keyOnToggle(event, toggle);
    const here = this.cells.find((cell) => cell.button === event.target);
    if (!here) return;
    const step: Record<string, [number, number]> = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0], Home: [0, -Infinity], End: [0, Infinity] };
    const move = step[event.key];
    if (!move) {
      if (event.key === "h" && this.map?.head_template) this.fold(this.layerOfRow(here.row));
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "ArrowLeft" && here.column === 0) {
      here.button.closest(".isn-map-row")?.querySelector<HTMLElement>(".isn-map-toggle")?.focus();
      return;
    }
    const row = here.row + move[0];
    const line = this.cells.filter((cell) => cell.row === row);
    const wanted = Math.max(0, Math.min(line.length - 1, here.column + move[1]));
    const next = line.find((cell) => cell.column === wanted);
    if (!next) return;
    here.button.setAttribute("tabindex", "-1");
    next.button.setAttribute("tabindex", "0");
    next.button.focus();
    this.focused = next.site;
  }

  private layerOfRow(row: number): number {
    let seen = 0;
    for (let layer = 0; layer < (this.map?.n_layers ?? 0); layer += 1) {
      const lines = this.open.has(layer) ? 2 : 1;
      if (row < seen + lines) return layer;
      seen += lines;
    }
    return 0;
  }
}

// The front end of one Altair chart, with Vega inside so that it draws without a network. Traits as altair's own
// JupyterChart has them: spec, embed_options, _vl_selections, _params, debounce_wait; of its own file_name and caption,
// what its files are called, and the words above the picture in them.
import vegaEmbed, { type Result, type VisualizationSpec } from "vega-embed";
import { h } from "./lib/dom.ts";
import { background, pictureButtons, titled } from "./lib/download.ts";
import type { Model, RenderArgs } from "./lib/model.ts";
import { errorBox, errorText } from "./lib/mount.ts";
import { isDark, watchTheme } from "./lib/theme.ts";

const plain = (value: unknown) => JSON.parse(JSON.stringify(value ?? null));

/** Colours of the page, so that the chart sits on it in light and dark. */
function themed(el: HTMLElement): Record<string, unknown> {
  const dark = isDark(el);
  const ink = dark ? "#e3e6ea" : "#24292f";
  const quiet = dark ? "#9aa4ae" : "#57606a";
  const rule = dark ? "#3a424b" : "#d8dee4";
  return {
    background: "transparent",
    font: getComputedStyle(el).fontFamily || "sans-serif",
    view: { stroke: null },
    axis: { labelColor: ink, titleColor: quiet, titleFontWeight: "normal", gridColor: rule, domainColor: rule, tickColor: rule },
    legend: { labelColor: ink, titleColor: quiet, titleFontWeight: "normal" },
    header: { labelColor: ink, titleColor: quiet, titleFontWeight: "normal" },
    title: { color: ink, subtitleColor: quiet },
    text: { color: ink },
    rule: { color: ink },
  };
}

/** The blue of the model's map, light and dark, as charts write it. */
const BLUES: Array<[light: string, dark: string]> = [["#1f6fc4", "#4a9ff0"], ["rgba(31, 111, 196, ", "rgba(74, 159, 240, "]];
const DATA = new Set(["data", "datasets"]);

/** A specification for a dark page: the map's blue is the dark map's there. What data say is left alone. */
function inDark(part: unknown): unknown {
  if (Array.isArray(part)) return part.map(inDark);
  if (part && typeof part === "object") return Object.fromEntries(Object.entries(part).map(([key, value]) => [key, DATA.has(key) ? value : inDark(value)]));
  if (typeof part !== "string") return part;
  const blue = BLUES.find(([light]) => part.startsWith(light));
  return blue ? part.replace(...blue) : part;
}

/** How soon, and how often in a row, a drawing without width is made anew. */
const AGAIN_MS = 100;
const AGAIN_MOST = 5;

class Chart {
  private shown: Result | null = null;
  private turn = 0;
  private unseen = 0;

  constructor(
    private readonly model: Model,
    private readonly el: HTMLElement,
  ) {}

  async draw(): Promise<void> {
    this.turn += 1;
    const turn = this.turn;
    const written = structuredClone(this.model.get("spec")) as VisualizationSpec | null;
    const spec = isDark(this.el) ? (inDark(written) as VisualizationSpec | null) : written;
    this.shown?.finalize();
    this.shown = null;
    if (!spec) {
      this.el.style.minHeight = ""; // of a drawing that was on its way
      this.el.replaceChildren();
      return;
    }
    const options = { actions: false, renderer: "svg" as const, ...structuredClone(this.model.get("embed_options") ?? {}) };
    const target = h("div", { class: "isn-vega" });
    this.el.style.minHeight = `${this.el.offsetHeight}px`; // else the page would jump while this one is empty
    this.el.replaceChildren(target);
    try {
      const result = await vegaEmbed(target, spec, { ...options, config: { ...themed(this.el), ...options.config } });
      if (turn !== this.turn) {
        result.finalize();
        return;
      }
      this.shown = result;
      this.listen(result);
      this.again(target, turn);
      await this.setParams(); // they may have changed since the specification was written
      if (turn !== this.turn) return;
      const text = async () => {
        const svg = (await result.view.toSVG()).replace("<svg ", `<svg style="background:${background(this.el)}" `);
        return titled(svg, this.model.get("caption") ?? "", this.el);
      };
      const fault = (error: unknown) => this.el.append(errorBox({ message: `This picture could not be saved: ${errorText(error).message}` }));
      this.el.append(pictureButtons(() => this.model.get("file_name") || "chart", text, fault));
    } catch (error) {
      if (turn === this.turn) this.el.replaceChildren(errorBox({ message: `This chart could not be drawn: ${errorText(error).message}` }));
    } finally {
      if (turn === this.turn) this.el.style.minHeight = "";
    }
  }

  /** Vega measured an element that had no width yet, or not any more (a theme's styles come and go): once more, soon. */
  private again(target: HTMLElement, turn: number): void {
    const drawn = Number(target.querySelector("svg")?.getAttribute("width"));
    if (drawn || this.unseen >= AGAIN_MOST) {
      this.unseen = 0;
      return;
    }
    this.unseen += 1;
    setTimeout(() => {
      if (turn !== this.turn) return;
      if (this.el.clientWidth) void this.draw();
      else this.again(target, turn);
    }, AGAIN_MS * this.unseen);
  }

  /** Whether what was drawn has no width, though it may have been asked for at one. */
  get blank(): boolean {
    const svg = this.el.querySelector(".isn-vega svg");
    return svg !== null && !Number(svg.getAttribute("width"));
  }

  /** Selections made with the mouse go to Python; parameters go both ways. */
  private listen(result: Result): void {
    const wait = this.model.get("debounce_wait") ?? 10;
    for (const name of Object.keys(this.model.get("_vl_selections") ?? {})) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      result.view.addSignalListener(name, (_, value) => {
        clearTimeout(timer);
        timer = setTimeout(() => {
          if (this.shown !== result) return;
          const store = plain(result.view.data(`${name}_store`) ?? []);
          this.model.set("_vl_selections", { ...plain(this.model.get("_vl_selections")), [name]: { value: plain(value), store } });
          this.model.save_changes();
        }, wait);
      });
    }
    for (const name of Object.keys(this.model.get("_params") ?? {})) {
      result.view.addSignalListener(name, (_, value) => {
        this.model.set("_params", { ...plain(this.model.get("_params")), [name]: plain(value) });
        this.model.save_changes();
      });
    }
  }

  async setParams(): Promise<void> {
    const view = this.shown?.view;
    if (!view) return;
    const text = (value: unknown) => JSON.stringify(plain(value));
    const other = Object.entries(this.model.get("_params") ?? {}).filter(([name, value]) => text(view.signal(name)) !== text(value));
    if (!other.length) return; // the chart's own change, which it is still at work on
    for (const [name, value] of other) view.signal(name, value);
    await view.runAsync();
  }

  close(): void {
    this.turn += 1;
    this.shown?.finalize();
    this.shown = null;
  }
}

export default {
  render({ model, el }: RenderArgs): () => void {
    el.classList.add("isn-chart-view");
    const chart = new Chart(model, el);
    // What it was drawn for: the width (0: hidden, so nothing of it can be seen), and light or dark.
    let width = 0;
    let dark = false;
    const draw = () => {
      [width, dark] = [el.clientWidth, isDark(el)];
      void chart.draw();
    };
    const params = () => void chart.setParams();
    model.on("change:spec", draw);
    model.on("change:embed_options", draw);
    model.on("change:_params", params);
    // Drawn a frame later: the element is attached by then, and its colours can be read.
    let frame = requestAnimationFrame(() => {
      frame = 0;
      draw();
    });
    const unwatch = watchTheme(() => {
      if (!frame && isDark(el) !== dark) draw();
    });
    // Vega follows the window's width, not its element's: a cell that gets narrower, or is seen at last, is drawn again.
    let later: ReturnType<typeof setTimeout> | undefined;
    const sizes = new ResizeObserver(() => {
      clearTimeout(later);
      later = setTimeout(() => {
        if (el.clientWidth && (chart.blank || Math.abs(el.clientWidth - width) > 4)) draw();
      }, 150);
    });
    sizes.observe(el);
    return () => {
      cancelAnimationFrame(frame);
      clearTimeout(later);
      sizes.disconnect();
      unwatch();
      model.off("change:spec", draw);
      model.off("change:embed_options", draw);
      model.off("change:_params", params);
      chart.close();
      el.replaceChildren();
    };
  },
};

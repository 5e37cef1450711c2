// InverseScopeWidget: picker, map, bandwidth, gallery and panel around one model. The parts are widgets of their
// own; this one lays them out and holds what they share. Traits: prompt, position, site, bandwidth, n, busy,
// bandwidth_range, bound, site_map, came_from, map_by, map_choices, map_values, map_note, sweeping, status, stale, wider, more_samples, unread, error, offer, code, model_name,
// frozen, picker, gallery, panel, sweep, pins, comparison.
import { child } from "./lib/child.ts";
import { codeBox } from "./lib/code.ts";
import { attr, debounce, disable, h, replace, uid } from "./lib/dom.ts";
import { save as saveFile } from "./lib/download.ts";
import type { View } from "./lib/model.ts";
import { errorBox, widget } from "./lib/mount.ts";
import { progressBar } from "./lib/progress.ts";
import { Rpc } from "./lib/rpc.ts";
import { number } from "./lib/shade.ts";
import { type MapValues, type SiteMap, SiteMapView } from "./lib/site_map.ts";

export type Range = readonly [low: number, high: number];

const USUAL: Range = [0.02, 1];
const STEPS = 200;

export function bandwidthAt(step: number, [low, high]: Range = USUAL): number {
  const value = low * (high / low) ** (step / STEPS);
  const round = Number(value.toPrecision(1)); // steps are 2 % apart: 0.1 and 0.2 are met, not only passed
  const near = Math.abs(value / round - 1) < 0.0125 ? round : Number(value.toPrecision(2));
  return Math.min(high, Math.max(low, near)); // an end of the range need not be round
}

export function stepOf(bandwidth: number, [low, high]: Range = USUAL): number {
  return high > low ? Math.round((STEPS * Math.log(bandwidth / low)) / Math.log(high / low)) : 0;
}

type Ask = (method: string, params?: Record<string, unknown>) => Promise<any>;

/** A part of the widget under its title; what comes and goes beside the title moves nothing. */
function section(title: string | [title: string, beside: HTMLElement], ...content: Array<HTMLElement | null>): HTMLElement {
  const id = uid("section");
  const [words, beside] = typeof title === "string" ? [title, null] : title;
  const heading = h("h3", { class: "isn-title", id }, words);
  return h("section", { class: "isn-section", "aria-labelledby": id }, beside ? h("div", { class: "isn-row isn-title-line" }, heading, beside) : heading, ...content);
}

/** What the map's colours mean: which sites have a generator, or the scale of a sweep's numbers. */
function mapLegend(view: View): HTMLElement {
  const sample = (look: string) => h("span", { class: `isn-map-cell isn-map-sample ${look}`, "aria-hidden": "true" });
  const legend = h("p", { class: "isn-note isn-map-legend" });
  view.follow(["map_values"], () => {
    const { values, max = 1, unit = "", where = "" }: MapValues = view.model.get("map_values") ?? {};
    if (!values) {
      replace(legend, sample(""), " generator at hand ", sample("isn-map-unknown"), " none yet");
      return;
    }
    const steps = [0, 0.5, 1].map((step) => {
      const cell = sample("isn-map-valued");
      cell.style.setProperty("--isn-v", String(step));
      return h("span", { class: "isn-map-step" }, cell, ` ${number(step * max, max > 2 ? 0 : 1)}`);
    });
    const doubt = Object.values(values).some((value) => value.doubtful) ? h("span", { class: "isn-map-step" }, sample("isn-map-valued isn-map-doubt"), " in doubt") : null;
    const map: SiteMap | null = view.model.get("site_map");
    const missing = (map?.available ?? []).some((site) => values[site]?.value == null) ? h("span", { class: "isn-map-step" }, sample("isn-map-valued isn-map-none"), " not measured") : null;
    const coarse = Object.values(values).some((value) => value.coarse && !value.doubtful) ? h("span", { class: "isn-map-step", title: "One direction holds most of what varies there: a low rate says little" }, sample("isn-map-valued isn-map-coarse"), " \u03b5 is coarse") : null;
    replace(legend, ...steps, h("span", null, unit), doubt, coarse, missing, where && h("span", null, `measured at ${where}`));
  });
  return legend;
}

function mapSection(view: View, ask: Ask): HTMLElement {
  const map = new SiteMapView((site) => {
    view.write("site", site);
  });
  const name = h("p", { class: "isn-site-name isn-mono" });
  const by = h("select", { class: "isn-input isn-map-by", "aria-label": "Colour the map by" });
  by.addEventListener("change", () => view.write("map_by", by.value));
  const row = h("label", { class: "isn-row isn-note" }, "coloured by ", by);
  view.follow(["map_choices", "map_by"], () => {
    const choices: Array<{ name: string; label: string }> = view.model.get("map_choices") ?? [];
    replace(by, ...choices.map((choice) => h("option", { value: choice.name }, choice.label)));
    by.value = view.model.get("map_by") ?? "";
    row.hidden = choices.length < 2;
  });
  const note = h("p", { class: "isn-other-input" });
  view.follow(["map_note", "map_by"], () => {
    note.textContent = view.model.get("map_by") ? (view.model.get("map_note") ?? "") : "";
    note.hidden = !note.textContent;
  });
  const frozen = Boolean(view.model.get("frozen")); // a saved page: nothing can be chosen, so nothing asks for it
  view.follow(["site_map", "site", "map_values"], () => {
    const values: MapValues = view.model.get("map_values") ?? {};
    map.update(view.model.get("site_map"), view.model.get("site") ?? "", frozen, values);
    name.textContent = view.model.get("site") ?? "";
    by.disabled = frozen && !view.model.get("maps"); // a saved page has them all
  });
  const back = h("button", { type: "button", class: "isn-link isn-back", on: { click: () => {
    view.write("site", view.model.get("came_from"));
    map.focus();
  } } });
  view.follow(["came_from"], () => {
    const from: string = view.model.get("came_from") ?? "";
    back.hidden = frozen || !from;
    back.textContent = `\u2190 back to ${from}`;
  });
  const legend = mapLegend(view);
  view.follow(["map_values"], () => {
    legend.hidden = frozen && !view.model.get("map_values")?.values;
  });
  const sweeping = progressBar(view, "sweeping", () => ask("stop sweep"));
  return section(frozen ? "Read at" : "Where to read", row, sweeping, note, map.element, name, back, legend);
}

/** Steps of the slider for a key: an arrow is some 10 %. */
const STRIDE: Record<string, number> = { ArrowRight: 4, ArrowUp: 4, ArrowLeft: -4, ArrowDown: -4 };

function bandwidthSection(view: View): HTMLElement {
  const id = uid("bandwidth");
  const slider = h("input", { type: "range", class: "isn-slider", id, min: 0, max: STEPS, step: 1 });
  const value = h("output", { class: "isn-mono", for: id });
  const note = h("p", { class: "isn-note" });
  const fine = h("span");
  const coarse = h("span");
  const ends = h("div", { class: "isn-slider-ends isn-note", "aria-hidden": "true" }, fine, coarse);
  const range = (): Range => view.model.get("bandwidth_range") ?? USUAL;
  const chosen = () => bandwidthAt(Number(slider.value), range());
  const show = (bandwidth: number) => {
    const bound: { bandwidth?: number; bits?: number } = view.model.get("bound") ?? {};
    value.textContent = `\u03b5 = ${bandwidth}`;
    attr(slider, "aria-valuetext", `epsilon ${bandwidth}`);
    const bits = bound.bandwidth === bandwidth ? bound.bits : null; // while the slider moves, the bound is of another
    const most = bits == null ? "" : ` Blurred by as much, an activation of this site tells at most ${number(bits, bits < 10 ? 1 : 0)} bits of its input on average; the clean one that is inverted here, or that of a rare input, may tell more.`;
    note.textContent = `The nearer an input, the more it counts: at distance \u03b5 a good half of one that is right there, at 3\u202f\u03b5 hardly anything.${most}`;
  };
  let moving = false; // until what the slider says is sent, what the kernel says is older
  const send = debounce(
    80,
    view.safely(() => {
      moving = false;
      view.write("bandwidth", chosen());
    }),
    view.signal,
  );
  slider.addEventListener("keydown", (event) => {
    event.stopPropagation();
    const by = STRIDE[(event as KeyboardEvent).key];
    if (!by || slider.disabled) return;
    event.preventDefault();
    slider.value = String(Number(slider.value) + by);
    slider.dispatchEvent(new Event("input"));
  });
  slider.addEventListener("input", () => {
    moving = true;
    show(chosen());
    send();
  });
  view.follow(["bandwidth", "bandwidth_range", "bound"], () => {
    const bandwidth: number = view.model.get("bandwidth");
    const [low, high] = range();
    slider.disabled = Boolean(view.model.get("frozen")) || low === high;
    slider.hidden = ends.hidden = Boolean(view.model.get("frozen"));
    fine.textContent = `${low} fine`;
    coarse.textContent = `coarse ${high}`;
    if (moving) return;
    if (chosen() !== bandwidth) slider.value = String(stepOf(bandwidth, range()));
    show(bandwidth);
  });
  return h("section", { class: "isn-section" }, h("div", { class: "isn-field-head" }, h("label", { for: id, class: "isn-title" }, "Bandwidth"), value), slider, ends, note);
}

const SAMPLES = [64, 256, 1024, 4096];

/** The button that inverts, and how many samples it draws. */
function invertRow(view: View, ask: Ask): HTMLElement {
  const id = uid("samples");
  const invert = h("button", { type: "button", class: "isn-button isn-primary", on: { click: () => ask("invert") } }, "Invert");
  const samples = h("select", { class: "isn-input", id });
  samples.addEventListener("change", () => {
    view.write("n", Number(samples.value));
  });
  view.follow(["n"], () => {
    const n: number = view.model.get("n") ?? SAMPLES[0];
    const choices = [...new Set([...SAMPLES, n])].sort((a, b) => a - b);
    replace(samples, ...choices.map((choice) => h("option", { value: choice }, choice)));
    samples.value = String(n);
  });
  const row = h("div", { class: "isn-row isn-go" }, invert, h("label", { for: id }, "samples"), samples);
  view.follow(["busy", "frozen", "unread"], () => {
    disable(invert, Boolean(view.model.get("busy")) || Boolean(view.model.get("unread")));
    row.hidden = Boolean(view.model.get("frozen"));
  });
  return row;
}

function offerBox(view: View, ask: Ask): HTMLElement {
  const box = h("div");
  view.follow(["offer", "busy", "training"], () => {
    const offer: { site: string; message: string; train: string | null; search: string | null } | null = view.model.get("offer");
    if (!offer?.site) {
      replace(box);
      return;
    }
    const busy = Boolean(view.model.get("busy"));
    const training = Boolean(view.model.get("training")?.running);
    const button = (method: string, label: string) => h("button", { type: "button", class: "isn-button", disabled: method === "train" ? training : busy, on: { click: () => ask(method) } }, label);
    replace(
      box,
      h(
        "div",
        { class: "isn-offer", role: "note" },
        h("p", null, offer.message),
        h("div", { class: "isn-row" }, offer.search ? button("search", offer.search) : null, offer.train ? button("train", offer.train) : null),
      ),
    );
  });
  return box;
}

/** Results that are no longer of what is picked are dimmed, and once nothing runs a line says whose they are. */
function staleNote(view: View): HTMLElement {
  const note = h("p", { class: "isn-stale", role: "status" });
  view.follow(["stale", "busy", "error", "unread"], () => {
    const stale: string = view.model.get("stale") ?? "";
    const next = view.model.get("frozen") ? "" : view.model.get("unread") ? " What is typed now is no prompt of this model." : view.model.get("error") ? "" : " Press Invert for those of the new pick.";
    note.textContent = stale ? `Still shown: the inputs for ${stale}.${next}` : "";
    note.hidden = !stale || Boolean(view.model.get("busy"));
    attr(view.root, "data-isn-stale", Boolean(stale));
  });
  return note;
}

/** Where what is shown is in doubt: more samples, where some lie near; a bandwidth at which it may not be. */
function insteadRow(view: View): HTMLElement {
  const attempt = (trait: string, value: string, words: (value: number) => string) => {
    const button = h("button", { type: "button", class: "isn-button", on: { click: () => view.write(trait, view.model.get(value)) } });
    view.follow([value, "stale"], () => {
      const found: number | null = view.model.get(value) ?? null;
      button.hidden = found == null;
      disable(button, Boolean(view.model.get("stale"))); // it stays until the next inputs come, so that nothing jumps
      if (found != null) button.textContent = words(found);
    });
    return button;
  };
  const note = h("span", { class: "isn-note" });
  const more = attempt("n", "more_samples", (n) => `Try ${n} samples`);
  const row = h("div", { class: "isn-row isn-wider" }, more, attempt("bandwidth", "wider", (bandwidth) => `Try \u03b5 = ${bandwidth}`), note);
  view.follow(["wider", "more_samples", "frozen"], () => {
    const [wider, samples] = ["wider", "more_samples"].map((trait) => view.model.get(trait) != null);
    row.hidden = (!wider && !samples) || Boolean(view.model.get("frozen"));
    note.textContent = [samples && "More samples find more near ones, though no larger a share of them.", wider && "A wider bandwidth asks less of the generator, and says less of the input: a token that is free there may be held at this one."].filter(Boolean).join(" ");
  });
  return row;
}

export function drawScope(view: View): void {
  const rpc = new Rpc(view);
  const faults = h("div");
  const ask: Ask = (method, params) => rpc.request(method, params).catch((error) => view.fail(error));
  const save = h("button", { type: "button", class: "isn-button", title: "Save what is shown now as one HTML file that works offline; other pins and tabs are not in it" }, "Save as HTML");
  save.addEventListener("click", () => ask("html").then((html) => html && saveFile(`inversescope ${view.model.get("site")}.html`, "text/html", html)));
  const name = h("span", { class: "isn-model-name isn-mono" });
  view.follow(["model_name"], () => {
    name.textContent = view.model.get("model_name") ?? "";
  });
  view.follow(["error"], () => {
    const error = view.model.get("error");
    replace(faults, error?.message ? errorBox(error, () => ask("dismiss")) : null);
  });
  const frozen = Boolean(view.model.get("frozen"));
  if (!frozen) ask("begin");
  const sweep = section("Across the model", child(view, "sweep", "the sweep", true));
  view.follow(["sweep"], () => {
    sweep.hidden = !view.model.get("sweep");
  });
  const status = progressBar(view, "status", () => ask("stop"));
  const training = progressBar(view, "training", () => ask("stop training"));
  const comparison = child(view, "comparison", "the comparison", true);
  view.root.addEventListener("isn-compare", () => comparison.scrollIntoView({ block: "nearest" }));
  view.root.append(
    h("div", { class: "isn-head" }, h("h2", { class: "isn-brand" }, "InverseScope"), name, h("span", { class: "isn-spring" }), frozen ? null : save),
    h(
      "div",
      { class: "isn-layout" },
      h("div", { class: "isn-side" }, section(frozen ? "Picked token" : "Pick a token", child(view, "picker", "the tokens")), mapSection(view, ask), training, bandwidthSection(view), invertRow(view, ask), child(view, "pins", "the pins")),
      h(
        "div",
        { class: "isn-main" },
        section(["Inputs with a similar activation", status], h("p", { class: "isn-note" }, "Proposed by a generator and run through the model itself, one by one; d says how far an input\u2019s activation lies from the picked one."), faults, offerBox(view, ask), staleNote(view), insteadRow(view), child(view, "gallery", "the inputs")),
        section(frozen ? "Hypotheses" : "Test a hypothesis", child(view, "panel", "the hypotheses", true)),
        sweep,
      ),
    ),
    comparison,
    codeBox(view),
  );
}

export default widget("scope", drawScope);

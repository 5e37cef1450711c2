// The sweep over all sites: its own widget, and the map of the model that it colours.
import { describe, expect, it } from "vitest";
import scopeModule from "../src/scope.ts";
import sweepModule, { best, ranked } from "../src/site_sweep.ts";
import { choose, key, mount, watchDownloads } from "./fake.ts";

const IDLE = { running: false, done: 0, total: 0, message: "", remaining_s: null, stopping: false };

describe("SiteSweep", () => {
  const rate = (site: string, star: number | null, more = {}) => ({ site, layer: 0, kind: "resid_post", head: null, feature: "subject", fcr: star, fcr_low: 0.1, fcr_high: 0.9, chance: 0.2, fcr_star: star, q_value: 0.01, bits: 3, ess_ratio: 0.5, notes: "", ...more });
  const state = () => ({ rows: [rate("blocks.0.hook_resid_post", 0.1), rate("blocks.1.hook_resid_post", 0.8), rate("blocks.2.hook_resid_post", null, { notes: "Not to be relied on: of 8 inversions 5 with few effective samples." })], where: "\u03b5 = 0.1", chart: null, status: IDLE, can_sweep: true, picks: 16, choices: [8, 16], label: "1 hypothesis at 3 sites: 48 inversions", note: "", error: null });

  it("starts, shows how far it is, and stops", () => {
    const { model, one, all } = mount(sweepModule, state());
    const start = all("button").find((button) => button.textContent === "Sweep all sites")!;
    expect(document.getElementById(start.getAttribute("aria-describedby")!)?.textContent).toContain("48 inversions");
    start.click();
    expect(model.last("sweep")).toBeDefined();
    choose(one("select"), "8");
    expect(model.state["picks"]).toBe(8);
    model.update({ status: { ...IDLE, running: true, done: 5, total: 48, message: "inverting" } });
    expect((start as HTMLButtonElement).disabled).toBe(true);
    expect(one(".isn-progress").textContent).toContain("inverting 5 of 48");
    one(".isn-stop").click();
    expect(model.last("stop")).toBeDefined();
    model.update({ status: IDLE, note: "Stopped." });
    expect(one(".isn-sweep").textContent).toContain("Stopped.");
  });
  it("lists the rates from the highest above chance, and goes to a line's site", () => {
    const { model, all } = mount(sweepModule, state());
    expect(all("tbody th").map((cell) => cell.textContent)).toEqual(["blocks.1.hook_resid_post", "blocks.0.hook_resid_post", "blocks.2.hook_resid_post"]);
    expect(all("tbody tr")[2]!.textContent).toContain("\u2020");
    expect(all("tbody tr")[2]!.getAttribute("title")).toContain("of 8 inversions 5");
    all("tbody button")[1]!.click();
    expect(model.last("go").params).toEqual({ site: "blocks.0.hook_resid_post", feature: "subject" });
  });
  it("says what it is for while there is nothing, and in a saved page only shows", () => {
    const empty = mount(sweepModule, { ...state(), rows: [], can_sweep: false });
    expect(empty.one(".isn-empty").hidden).toBe(false);
    expect(empty.one(".isn-sweep-result").hidden).toBe(true);
    const saved = mount(sweepModule, { ...state(), frozen: true });
    expect(saved.one(".isn-sweep-start").hidden).toBe(true);
    expect(saved.all("tbody button").length).toBe(0);
    expect(saved.one(".isn-sweep-result").textContent).not.toContain("Click");
  });
  it("keeps what was clicked where it is on the screen, until the reader scrolls", async () => {
    const { all, one, el, close } = mount(sweepModule, state());
    const box = document.createElement("div");
    box.style.overflowY = "auto";
    for (const [name, value] of Object.entries({ scrollHeight: 2000, clientHeight: 500 })) Object.defineProperty(box, name, { value });
    document.body.replaceChildren(box);
    box.append(el);
    let top = 300; // of the heat maps in the content
    one(".isn-heat").getBoundingClientRect = () => ({ top: top - box.scrollTop }) as DOMRect;
    const frames = () => new Promise((resolve) => setTimeout(resolve, 60));
    box.scrollTop = 100;
    all("tbody button")[1]!.click();
    top = 380; // the gallery above got higher
    await frames();
    expect(box.scrollTop).toBe(180);
    top = 310;
    await frames();
    expect(box.scrollTop).toBe(110);
    dispatchEvent(new Event("wheel"));
    top = 390;
    await frames();
    expect(box.scrollTop).toBe(110);
    one(".isn-heat").click();
    top = 400;
    close();
    await frames();
    expect(box.scrollTop).toBe(110);
  });
  it("names the best site of each hypothesis among those that can be relied on", () => {
    expect(best([rate("a", 0.4, { n_undefined: 12, n_groups: 4 }), rate("b", 0.2, { n_undefined: 12, n_groups: 4 })])).toMatch(/Of the inputs subject is undefined for 12: from few inputs little can be told from chance\.$/);
    expect(best([rate("a", 0.9, { notes: "Not to be relied on: all" }), rate("b", 0.5), rate("c", 0.7), rate("d", 0.2, { feature: "verb" })])).toBe(
      "Highest above chance, of what can be relied on (the highest of 4 sites, which tends to be too high): subject: c, FCR 0.70 (0.10\u20130.90), chance 0.20; verb: d, FCR 0.20 (0.10\u20130.90), chance 0.20.",
    );
    const nothing = [rate("a", 0.004, { q_value: 0.4 }), rate("b", 0, { feature: "trivial", fcr: 1, chance: 1 })];
    expect(best(nothing)).toBe("subject, trivial: nowhere surely above chance.");
    expect(best([rate("a", 0.4, { n_undefined: 1, n_groups: 31 })])).toBe("Highest above chance, of what can be relied on: subject: a, FCR 0.40 (0.10\u20130.90), chance 0.20.");
    expect(best([...nothing, rate("c", 0.9, { notes: "Not to be relied on: all" })])).toBe("subject, trivial: nowhere surely above chance where it can be relied on.");
    expect(best(nothing, true)).toBe("subject, trivial: nowhere so far surely above chance.");
    expect(best([rate("a", null)])).toBe("");
  });
  it("says beside the heat maps where a click went, and leads back", () => {
    const { model, one } = mount(sweepModule, state());
    expect(one(".isn-gone").hidden).toBe(true);
    model.update({ site: "blocks.1.hook_resid_post", came_from: "blocks.0.hook_resid_post" });
    expect(one(".isn-gone").textContent).toBe("Now at blocks.1.hook_resid_post: its inputs are listed above. \u2190 back to blocks.0.hook_resid_post");
    one(".isn-gone button").click();
    expect(model.last("back")).toBeDefined();
  });
  it("keeps the focus on a Stop that is stopping, asks once, and then gives it to the button that goes on", async () => {
    const { model, one, all } = mount(sweepModule, state());
    const start = all("button").find((button) => button.textContent === "Sweep all sites")!;
    model.update({ status: { ...IDLE, running: true, total: 48 } });
    const stop = one(".isn-stop") as HTMLButtonElement;
    stop.focus();
    stop.click();
    model.update({ status: { ...IDLE, running: true, total: 48, stopping: true } });
    expect(stop.disabled).toBe(false); // a browser would take the focus from it
    expect(stop.getAttribute("aria-disabled")).toBe("true");
    const asked = model.sent.length;
    stop.click();
    expect(model.sent.length).toBe(asked);
    expect(document.activeElement).toBe(stop);
    model.update({ status: IDLE });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(document.activeElement).toBe(start);
  });
  it("gives the focus of a Stop that disappears to the button that goes on", async () => {
    const running = { ...state()["status"], running: true, done: 1, total: 9, message: "sweeping", remaining_s: null, stopping: false };
    const { model, one, all } = mount(sweepModule, { ...state(), can_sweep: true, status: running });
    one(".isn-stop").focus();
    model.update({ status: { ...running, running: false } });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(document.activeElement).toBe(all("button").find((button) => button.textContent === "Sweep all sites"));
  });
  it("says what is missing before there can be a sweep", () => {
    const { model, one } = mount(sweepModule, { ...state(), rows: [], can_sweep: false, label: "Put a hypothesis to the test first." });
    expect(one(".isn-empty").textContent).toBe("Put a hypothesis to the test first.");
    model.update({ label: "" });
    expect(one(".isn-empty").textContent).toContain("Once an activation is inverted");
  });
  it("says where it is of something else than what is picked", () => {
    const { model, one } = mount(sweepModule, { ...state(), stale: "This sweep is of another input, 'a'." });
    expect(one(".isn-other-input").textContent).toBe("This sweep is of another input, 'a'.");
    model.update({ stale: "" });
    expect(one(".isn-other-input").hidden).toBe(true);
  });
  it("saves all of it as CSV", () => {
    const files = watchDownloads();
    const { all } = mount(sweepModule, state());
    all("button").find((button) => button.textContent === "Save the sweep as CSV")!.click();
    const [name, text] = files[0]!;
    expect(name).toBe("sweep.csv");
    const lines = text.trim().split("\r\n");
    expect(lines.length).toBe(4);
    expect(lines[0]).toContain("site,layer,kind,head,feature");
    expect(lines[2]).toContain("blocks.1.hook_resid_post,0,resid_post,,subject");
  });
});

describe("the map of the model, coloured by a sweep", () => {
  const map = {
    n_layers: 2,
    n_heads: 2,
    kinds: [{ kind: "resid_post", label: "resid post", template: "blocks.{layer}.hook_resid_post" }],
    head_template: "blocks.{layer}.attn.hook_z.{head}",
    available: ["blocks.0.hook_resid_post"],
  };
  const values = {
    label: "subject: FCR above chance",
    unit: "FCR*",
    max: 1,
    values: {
      "blocks.0.hook_resid_post": { value: 0.25, words: "FCR 0.40", doubtful: false },
      "blocks.1.hook_resid_post": { value: null, words: "no estimate", doubtful: false },
      "blocks.1.attn.hook_z.1": { value: 0.5, words: "FCR 0.60", doubtful: true },
    },
  };
  const choices = [{ name: "", label: "generator at hand" }, { name: "feature subject", label: "subject: FCR above chance" }];
  const state = () => ({
    prompt: "", position: -1, site: "blocks.0.hook_resid_post", bandwidth: 0.1, busy: false, frozen: false, site_map: map, status: IDLE, offer: null, code: "",
    map_by: "", map_choices: choices.slice(0, 1), map_values: {}, model_name: "tiny", picker: null, gallery: null, panel: null, sweep: null, error: null,
  });

  it("says by fill, by words and with a printed scale how much each site has", () => {
    const { model, all, one } = mount(scopeModule, state());
    const by = one('select[aria-label="Colour the map by"]');
    expect(by.closest("label")!.hidden).toBe(true); // nothing to choose from
    model.update({ map_choices: choices, map_by: "feature subject", map_values: values });
    expect(by.closest("label")!.hidden).toBe(false);
    expect(all(".isn-map-heads").length).toBe(1); // unfolded where a head has a value
    const cells = all("button.isn-map-cell");
    expect(cells.map((cell) => cell.style.getPropertyValue("--isn-v"))).toEqual(["0.250", "0.000", "0.000", "0.500"]);
    expect(cells[0]!.getAttribute("aria-label")).toBe("layer 0, resid post, subject: FCR above chance: FCR 0.40");
    expect(cells[1]!.classList.contains("isn-map-none")).toBe(true);
    expect(cells[3]!.classList.contains("isn-map-doubt")).toBe(true);
    expect(one(".isn-map-legend").textContent).toContain("0.0 0.5 1.0FCR* in doubt");
    choose(by, "");
    expect(model.state["map_by"]).toBe("");
    model.update({ map_values: {} });
    expect(all(".isn-map-valued").length).toBe(0);
    expect(one(".isn-map-legend").textContent).toContain("generator at hand");
  });
  it("names the sites that were not measured", () => {
    const { model, one } = mount(scopeModule, { ...state(), map_choices: choices, map_by: "feature subject", map_values: values });
    const legend = () => one(".isn-map-legend").textContent;
    const all = Object.keys(values.values);
    model.update({ site_map: { ...map, available: ["blocks.0.hook_resid_post"] }, map_values: { ...values } });
    expect(legend()).not.toContain("not measured");
    model.update({ site_map: { ...map, available: [...all, "blocks.9.hook_resid_post"] }, map_values: { ...values } });
    expect(legend()).toContain("not measured");
  });
  it("says where the map is how far the sweep is, and stops it there", () => {
    const sweeping = { running: true, done: 3, total: 9, message: "sweeping", remaining_s: null, stopping: false };
    const { model, all } = mount(scopeModule, { ...state(), sweeping });
    const bar = all(".isn-side .isn-progress").find((element) => element.textContent!.includes("sweeping 3 of 9"))!;
    bar.querySelector("button")!.click();
    expect(model.last("stop sweep")).toBeDefined();
    model.update({ sweeping: { ...sweeping, running: false } });
    expect(bar.hidden).toBe(true);
  });
  it("still chooses with the keyboard", () => {
    const { model, all } = mount(scopeModule, { ...state(), map_choices: choices, map_by: "feature subject", map_values: values });
    all("button.isn-map-cell")[0]!.focus();
    key(document.activeElement!, "ArrowDown");
    (document.activeElement as HTMLElement).click();
    expect(model.state["site"]).toBe("blocks.1.hook_resid_post");
  });
  it("says where the bandwidth does not resolve a site, so that a low rate says little", () => {
    const row = { site: "a", feature: "f", fcr: 0, fcr_star: 0, notes: "Coarse here: one direction holds 90 % of it." };
    expect(best([row, { ...row, site: "b", notes: null }])).toContain("At one site one direction holds most of what varies");
    expect(best([{ ...row, notes: null }])).not.toContain("one direction");
    const { all } = mount(sweepModule, { ...state(), rows: [row] });
    expect(all(".isn-sweep-table tbody tr").map((line) => line.textContent)[0]).toContain("\u2021");
    expect(all(".isn-sweep-table .isn-note").map((line) => line.textContent).join()).toContain("\u2021 \u03b5 is coarse there");
  });
  it("leaves a rate that is not known to the end", () => {
    const rows = [{ site: "a", feature: "f", fcr: null, fcr_star: null }, { site: "b", feature: "f", fcr: 1, fcr_star: -0.5 }];
    expect(ranked(rows).map(({ site }) => site)).toEqual(["b", "a"]);
  });
});

// Pins: inversions that are kept, to go back to and to compare with the one shown. Traits: pins, shown, most.
import { disable, focused, h, replace } from "./lib/dom.ts";
import { spoken } from "./lib/glyphs.ts";
import type { View } from "./lib/model.ts";
import { errorBox, widget } from "./lib/mount.ts";
import { pickText } from "./lib/pick.ts";
import { Rpc, stopped } from "./lib/rpc.ts";
import { TONE } from "./lib/summary.ts";

export interface Pin {
  id: number | null;
  tokens: string[];
  site: string;
  bandwidth: number;
  n: number;
  verdict: string;
}

const named = (pin: Pin) => `${spoken(pin.tokens.at(-1) ?? "")} at ${pin.site}, epsilon ${pin.bandwidth}`;

export function drawPins(view: View): void {
  const rpc = new Rpc(view);
  const faults = h("div");
  const hint = h("span", { class: "isn-note" });
  const list = h("ul", { class: "isn-pin-list", "aria-label": "Pinned inversions" });
  const failed = (error: any) => stopped(error) || replace(faults, errorBox(error, () => replace(faults)));
  const ask = (method: string, params: Record<string, unknown> = {}) => rpc.request(method, params).catch(failed);
  const pin = h("button", { type: "button", class: "isn-button", on: { click: () => ask("pin") } });
  const told = (element: Element) => element.dispatchEvent(new CustomEvent("isn-compare", { bubbles: true }));
  const compare = (button: HTMLButtonElement, id: number) => {
    disable(button, true);
    button.textContent = "Comparing\u2026";
    const ended = () => {
      disable(button, false);
      button.textContent = "Compare";
      told(view.root);
    };
    rpc.request("compare", { id }).then(ended, ended); // what went wrong stands where the comparison would
    told(view.root);
  };
  const item = (one: Pin, shown: Pin | null, alone: boolean): HTMLElement => {
    const current = one.id === shown?.id;
    const [tone, mark] = TONE[one.verdict] ?? ["quiet", "?"];
    const go = h(
      "button",
      { type: "button", class: "isn-pin-go", title: `${current ? "This one is shown" : "Go back to it"}; ${one.n} samples`, "aria-current": current ? "true" : null, "data-id": one.id, on: { click: () => ask("go", { id: one.id }) } },
      h("span", { class: `isn-verdict-mark isn-tone-${tone}`, "aria-hidden": "true" }, mark),
      h("span", { class: "isn-hidden" }, `${one.verdict.toLowerCase().replaceAll("_", " ")}: `),
      pickText(one),
    );
    const button = h("button", { type: "button", class: `isn-button isn-pin-compare${alone ? " isn-primary" : ""}`, "aria-label": `Compare with the pinned ${named(one)}`, title: "Side by side with what is shown" }, "Compare");
    button.addEventListener("click", () => compare(button, one.id!));
    const remove = h("button", { type: "button", class: "isn-icon-button", "aria-label": `Remove the pinned ${named(one)}`, on: { click: () => ask("unpin", { id: one.id }) } }, "\u2715");
    const beside = current ? h("span", { class: "isn-badge" }, "shown") : shown ? button : null;
    return h("li", { class: `isn-pin${current ? " isn-pin-current" : ""}` }, go, beside, remove);
  };
  view.follow(["error"], () => {
    const error = view.model.get("error");
    replace(faults, error?.message ? errorBox(error, () => ask("dismiss")) : null);
  });
  view.follow(["pins", "shown"], () => {
    const pins: Pin[] = view.model.get("pins") ?? [];
    const shown: Pin | null = view.model.get("shown");
    const here = focused(list);
    const pressed = here === pin;
    const held = here instanceof HTMLElement && list.contains(here) ? here.closest("li")?.querySelector<HTMLElement>("[data-id]")?.dataset["id"] : null;
    const full = pins.length >= (view.model.get("most") ?? 8);
    const pinned = shown?.id != null;
    pin.hidden = pinned;
    pin.disabled = !shown || full;
    pin.textContent = "Pin to compare";
    pin.title = full ? "No more can be pinned: remove one first" : shown ? "Keep this inversion at hand" : "There is no inversion to pin";
    hint.textContent = pins.length === 1 && pinned ? "Pinned. Pick another token, place or bandwidth, then press Compare." : full && !pinned ? "Remove one to pin this." : "";
    replace(list, ...pins.map((one) => item(one, shown, pins.length === 1)));
    list.hidden = pins.length === 0;
    view.root.hidden = !shown && pins.length === 0;
    if (pressed && pinned) list.querySelector<HTMLElement>("[aria-current]")?.focus();
    if (held != null) (list.querySelector<HTMLElement>(`[data-id="${held}"]`) ?? pin).focus();
  });
  view.root.append(h("div", { class: "isn-row" }, pin, list, hint), faults);
}

export default widget("pins", drawPins);

// TokenPicker: a prompt as its tokens, one of which is picked.
// Traits: text, tokens, position, values, values_label, values_unit, values_max, diverging,
// examples, tabs, tab, editable, error, quantity, quantities, shading.
import { attr, debounce, focused, h, replace, uid } from "./lib/dom.ts";
import { spoken } from "./lib/glyphs.ts";
import type { View } from "./lib/model.ts";
import { errorBox, widget } from "./lib/mount.ts";
import { progressBar } from "./lib/progress.ts";
import { Rpc } from "./lib/rpc.ts";
import { niceMax, number, scaleKey, shade, signed, tokenText } from "./lib/shade.ts";

interface Quantity {
  name: string;
  label: string;
  /** Why it cannot be chosen now. */
  why_not: string | null;
}

interface Example {
  group?: string;
  label: string;
  text: string;
}

export function picked(view: View): number {
  const position: number = view.model.get("position") ?? -1;
  const length: number = (view.model.get("tokens") ?? []).length;
  return position < 0 ? position + length : position;
}

function tokenList(view: View, rpc: Rpc): HTMLElement {
  const hint = uid("hint");
  const list = h("div", { class: "isn-tokens", role: "group", "aria-label": "Tokens of the prompt", "aria-describedby": hint });
  const help = h("p", { class: "isn-note", id: hint });
  const key = h("div", { class: "isn-key" });
  const shaded = h("select", { class: "isn-input isn-shaded-by", "aria-label": "Shade the tokens by" });
  const shadedRow = h("label", { class: "isn-row isn-note" }, "shaded by ", shaded);
  shaded.addEventListener("change", () => view.write("quantity", shaded.value));
  let focus = 0;
  let buttons: HTMLElement[] = [];

  const moveTo = (index: number) => {
    const next = Math.max(0, Math.min(buttons.length - 1, index));
    for (const button of list.querySelectorAll('[tabindex="0"]')) button.setAttribute("tabindex", "-1");
    focus = next;
    buttons[focus]?.setAttribute("tabindex", "0");
    buttons[focus]?.focus();
  };
  const pick = (index: number) => {
    view.write("position", index);
    rpc.request("pick", { position: index }).catch((error) => view.fail(error));
  };

  const frozen = (): boolean => Boolean(view.model.get("frozen"));

  list.addEventListener("click", (event) => {
    const button = (event.target as Element).closest<HTMLElement>("button.isn-token");
    if (!button) return;
    moveTo(buttons.indexOf(button));
    pick(focus);
  });
  list.addEventListener("focusin", (event) => {
    const index = buttons.indexOf(event.target as HTMLElement);
    if (index >= 0) focus = index;
  });
  list.addEventListener("keydown", (event) => {
    const moves: Record<string, number> = { ArrowRight: focus + 1, ArrowLeft: focus - 1, Home: 0, End: buttons.length - 1 };
    const move = event.key === "ArrowDown" || event.key === "ArrowUp" ? lineMove(buttons, focus, event.key === "ArrowDown") : moves[event.key];
    if (move === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    moveTo(move);
  });

  view.follow(["tokens"], () => {
    const tokens: string[] = view.model.get("tokens") ?? [];
    const hadFocus = list.contains(focused(list));
    // In a saved page nothing can be picked, so the tokens are no buttons there.
    buttons = tokens.map((token) =>
      frozen() ? h("span", { class: "isn-token" }, ...tokenText(token)) : h("button", { type: "button", class: "isn-token", tabindex: "-1" }, ...tokenText(token)),
    );
    list.replaceChildren(...buttons);
    if (frozen()) return;
    focus = Math.max(0, Math.min(picked(view), buttons.length - 1)); // the position may come after the tokens
    buttons[focus]?.setAttribute("tabindex", "0");
    if (hadFocus) buttons[focus]?.focus();
  });
  view.follow(["tokens", "error"], () => {
    const kept = view.model.get("error")?.type === "BadPrompt" && buttons.length > 0;
    help.hidden = buttons.length === 0 || frozen();
    help.textContent = kept ? "These are still the tokens of the last prompt that could be read." : "Click a token, or move with the arrow keys and press Enter.";
  });
  // Of a thousand tokens a pick touches two, and new values only those that they change.
  let current = -1;
  view.follow(["tokens", "position"], () => {
    const now = picked(view);
    const name = frozen() ? "aria-current" : "aria-pressed";
    buttons.forEach((button, index) => {
      const value = index === now ? "true" : frozen() ? null : "false";
      if (button.getAttribute(name) !== value) attr(button, name, value);
    });
    if (now !== current) reveal(list, buttons[now]);
    current = now;
  });
  view.follow(["tokens", "values", "values_label", "values_unit", "values_max", "diverging"], () => {
    const tokens: string[] = view.model.get("tokens") ?? [];
    const values: Array<number | null> | null = view.model.get("values");
    const unit: string = view.model.get("values_unit") ?? "";
    const diverging = Boolean(view.model.get("diverging"));
    const max: number = view.model.get("values_max") ?? niceMax(values ?? []);
    const some = (values ?? []).some((value) => value != null);
    const clipped = (values ?? []).some((value) => value != null && Math.abs(value) > max * 1.001);
    buttons.forEach((button, index) => {
      const value = values?.[index];
      const shown = value == null ? "" : `, ${diverging ? signed(value) : number(value)} ${unit}`;
      const unread = some && value == null;
      const drawn = `${shown}/${max}/${unread}`;
      if (button.dataset["drawn"] === drawn) return;
      button.dataset["drawn"] = drawn;
      shade(button, value, max);
      button.classList.toggle("isn-unread", unread);
      attr(button, "aria-label", `token ${index} of 0 to ${tokens.length - 1}: ${spoken(tokens[index] ?? "")}${shown}`);
      attr(button, "title", `position ${index}${shown}`);
    });
    replace(key, values?.length ? scaleKey(max, view.model.get("values_label") ?? "", unit, diverging, clipped) : null);
  });
  view.follow(["quantity", "quantities"], () => {
    const choices: Quantity[] = view.model.get("quantities") ?? [];
    const options = choices.map(({ name, label, why_not }) => h("option", { value: name, disabled: Boolean(why_not), title: why_not }, why_not ? `${label} (${why_not})` : label));
    shaded.replaceChildren(...options);
    shaded.value = view.model.get("quantity") ?? "";
    shadedRow.hidden = choices.length === 0 || frozen();
  });
  const tell = debounce(
    150,
    view.safely(() => {
      if (buttons.length < LONG || frozen()) return;
      const [start, stop] = onScreen(list, buttons);
      rpc.request("visible", { start, stop }).catch(() => undefined);
    }),
    view.signal,
  );
  list.addEventListener("scroll", tell, { passive: true });
  view.follow(["tokens"], tell);
  const progress = progressBar(view, "shading", () => rpc.request("stop shading").catch((error) => view.fail(error)));
  return h("div", { class: "isn-token-area" }, list, shadedRow, frozen() ? null : progress, key, help);
}

/** Tokens from which on Python is told which of them are on the screen. */
const LONG = 100;

/** Scrolls a token into its list's own window, never the page. */
function reveal(list: HTMLElement, button: HTMLElement | undefined): void {
  if (!button || list.scrollHeight <= list.clientHeight) return;
  const top = button.offsetTop - list.offsetTop;
  if (top < list.scrollTop || top + button.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top - list.clientHeight / 2;
}

/** The first token in the list's window, and the one behind the last. */
export function onScreen(list: HTMLElement, buttons: HTMLElement[]): [start: number, stop: number] {
  const beyond = (edge: number) => {
    let [low, high] = [0, buttons.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (buttons[middle]!.offsetTop - list.offsetTop < edge) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return [beyond(list.scrollTop - 30), beyond(list.scrollTop + list.clientHeight)];
}

/** The token above or below: the nearest by horizontal distance on the next line of the layout. */
function lineMove(buttons: HTMLElement[], from: number, down: boolean): number {
  const here = buttons[from]?.getBoundingClientRect();
  if (!here) return from;
  const step = down ? 1 : -1;
  let best = from;
  let bestGap = Infinity;
  let line: number | null = null;
  for (let index = from + step; index >= 0 && index < buttons.length; index += step) {
    const box = buttons[index]!.getBoundingClientRect();
    if (line === null && Math.abs(box.top - here.top) > 4) line = box.top;
    if (line === null) continue;
    if (Math.abs(box.top - line) > 4) break;
    const gap = Math.abs(box.left - here.left);
    if (gap < bestGap) [best, bestGap] = [index, gap];
  }
  return best;
}

/** Characters of an example that the list of them shows. */
const SHOWN = 60;

interface Tab {
  text: string;
  position: number;
}

/** Characters of a prompt that its tab shows: the end, which is what tells prompts of one kind apart at a picked token. */
const TAB = 22;

function short(text: string): string {
  const characters = [...text.replace(/\s+/g, " ").trim()];
  return characters.length > TAB ? `\u2026${characters.slice(-TAB).join("")}` : characters.join("") || "\u2205";
}

/** The prompts that are kept, a tab each where there are several, with a button that closes the one shown; and the
 * button for another. */
function tabRow(view: View, rpc: Rpc, edit: () => void): { row: HTMLElement; add: HTMLElement } {
  const list = h("div", { class: "isn-prompt-tabs", role: "tablist", "aria-label": "Prompts" });
  const add = h("button", { type: "button", class: "isn-icon-button", "aria-label": "Keep this prompt and open another tab", title: "Keep this prompt and open another tab (where to read and \u03b5 stay as they are)" }, "+ tab");
  const close = h("button", { type: "button", class: "isn-icon-button", "aria-label": "Close this tab", title: "Close this tab" }, "\u2715");
  const row = h("div", { class: "isn-tab-row" }, list, close);
  const shut = (tab: number) => rpc.request("close tab", { tab }).catch((error) => view.fail(error));
  const shown = (): number => view.model.get("tab") ?? 0;
  add.addEventListener("click", () => rpc.request("open tab").then(edit, (error) => view.fail(error)));
  close.addEventListener("click", () => shut(shown()));
  list.addEventListener("click", (event) => {
    const index = [...list.children].indexOf((event.target as Element).closest("button")!);
    if (index >= 0) view.write("tab", index);
  });
  list.addEventListener("keydown", (event) => {
    const buttons = [...list.querySelectorAll<HTMLElement>("button")];
    const here = buttons.indexOf(event.target as HTMLElement);
    const step: Record<string, number> = { ArrowRight: 1, ArrowLeft: -1 };
    if (event.key === "Delete" && buttons.length > 1) shut(here);
    else if (step[event.key]) buttons[(here + step[event.key]! + buttons.length) % buttons.length]?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  view.follow(["tabs", "tab", "editable"], () => {
    const tabs: Tab[] = view.model.get("tabs") ?? [];
    const hadFocus = list.contains(focused(list));
    const buttons = tabs.map(({ text }, index) =>
      h("button", { type: "button", class: "isn-prompt-tab", role: "tab", "aria-selected": index === shown() ? "true" : "false", tabindex: index === shown() ? 0 : -1, title: text }, ...tokenText(short(text))),
    );
    list.replaceChildren(...buttons);
    row.hidden = tabs.length < 2 || view.model.get("editable") === false;
    add.hidden = tabs.length === 0;
    if (hadFocus) buttons[shown()]?.focus();
  });
  return { row, add };
}

function promptForm(view: View, rpc: Rpc): HTMLElement {
  const id = uid("prompt");
  const area = h("textarea", { class: "isn-input isn-prompt", id, rows: 2, spellcheck: "false" });
  const examples = h("select", { class: "isn-input", "aria-label": "Example prompts" });
  const send = () => {
    if (area.value === view.model.get("text")) return;
    view.write("text", area.value);
  };
  area.addEventListener("input", debounce(300, view.safely(send), view.signal));
  area.addEventListener("change", view.safely(send));
  area.addEventListener("keydown", (event) => {
    event.stopPropagation();
    // While an input method is composing, Enter accepts what it offers.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send();
    }
  });
  examples.addEventListener("change", () => {
    const chosen = (view.model.get("examples") as Example[])[Number(examples.value)];
    if (chosen) {
      area.value = chosen.text;
      send();
    }
    examples.value = "";
  });
  view.follow(["text"], () => {
    if (area.value !== view.model.get("text")) area.value = view.model.get("text") ?? "";
  });
  const exampleRow = h("div", { class: "isn-row" }, examples);
  view.follow(["examples"], () => {
    const list: Example[] = view.model.get("examples") ?? [];
    const groups = new Map<string, HTMLElement>();
    examples.replaceChildren(h("option", { value: "" }, "Example prompts\u2026"));
    list.forEach(({ group, label }, index) => {
      const option = h("option", { value: index }, [...label].length > SHOWN ? `${[...label].slice(0, SHOWN).join("")}\u2026` : label);
      if (group && !groups.has(group)) {
        groups.set(group, h("optgroup", { label: group }));
        examples.append(groups.get(group)!);
      }
      (group ? groups.get(group)! : examples).append(option);
    });
    exampleRow.hidden = list.length === 0;
  });
  const { row: tabs, add } = tabRow(view, rpc, () => {
    area.focus();
    area.select(); // the next prompt is typed over it
  });
  if (view.model.get("frozen")) return h("div"); // of a saved page the prompt is its tokens
  const form = h("div", { class: "isn-prompt-form" }, tabs, h("div", { class: "isn-field-head" }, h("label", { for: id, class: "isn-label" }, "Prompt"), h("div", { class: "isn-row" }, exampleRow, add)), area);
  view.follow(["editable"], () => {
    form.hidden = view.model.get("editable") === false;
  });
  return form;
}

export function drawTokenPicker(view: View): void {
  const rpc = new Rpc(view);
  const faults = h("div");
  view.root.append(promptForm(view, rpc), faults, tokenList(view, rpc));
  view.follow(["error"], () => {
    const error = view.model.get("error");
    replace(faults, error?.message ? errorBox(error, () => rpc.request("dismiss").catch(() => undefined)) : null);
  });
}

export default widget("picker", drawTokenPicker);

// The form in which a hypothesis is chosen or written: text, a pattern, a token at a position, Python. What is written
// as Python is sent, and so run, by the button alone: never when a view is drawn. Traits: features, tokens.
import { disable, h, replace, uid } from "./dom.ts";
import type { View } from "./model.ts";
import { errorBox, errorText } from "./mount.ts";
import { type Rpc, stopped } from "./rpc.ts";
import { tokenText } from "./shade.ts";

export function hypothesisForm(view: View, rpc: Rpc): HTMLElement {
  const ready = h("select", { class: "isn-input", "aria-label": "Hypothesis" });
  const value = h("input", { class: "isn-input", type: "text", "aria-label": "Text" });
  const position = h("input", { class: "isn-input isn-position", type: "number", value: "-1", "aria-label": "Position, counted from the end when negative" });
  const token = h("span", { class: "isn-note" });
  const editor = h("textarea", { class: "isn-input isn-python", rows: "3", spellcheck: "false", autocapitalize: "off", autocomplete: "off", "aria-label": "Python" });
  const name = h("input", { class: "isn-input isn-name", "aria-label": "Name of the hypothesis", placeholder: "name (optional)" });
  const handId = uid("hand");
  const hand = h("p", { class: "isn-note", id: handId }, "An expression of ", h("code", null, "x"), ", or ", h("code", null, "def f(x): \u2026"), ". At hand: ", h("code", null, "x"), " (the text), ", h("code", null, "x.tokens"), ", ", h("code", null, "x.token_ids"), ", ", h("code", null, "re"), ", ", h("code", null, "math"), ". Runs in your kernel when you click the button (or press Ctrl+Enter).");
  editor.setAttribute("aria-describedby", handId);
  const python = h("div", { class: "isn-python-part" }, editor, hand);
  const patternId = uid("pattern");
  const pattern = h("p", { class: "isn-note", id: patternId }, "Asks whether the same text is found. With ", h("code", null, "(\u2026)"), " only what stands in the brackets has to be the same, in all of them; ", h("code", null, "(?:\u2026)"), " only groups.");
  value.setAttribute("aria-describedby", patternId);
  const stop = h("button", { type: "button", class: "isn-button", on: { click: () => rpc.cancel("add") } }, "Stop");
  stop.hidden = true;
  const add = h("button", { type: "submit", class: "isn-button isn-primary" }, "Test it");
  const faults = h("div");
  const form = h("form", { class: "isn-row isn-add" }, ready, value, position, token, python, name, add, stop, pattern);

  const WRITTEN: Record<string, string> = { "=contains": "contains the text\u2026", "=regex": "matches the pattern\u2026", "=token_at": "same token at position\u2026", "=python": "Python\u2026" };
  const update = () => {
    const kind = ready.value;
    value.hidden = !(kind === "=contains" || kind === "=regex");
    pattern.hidden = kind !== "=regex";
    position.hidden = token.hidden = kind !== "=token_at";
    const tokens: string[] = view.model.get("tokens") ?? [];
    const there = tokens.at(Number(position.value));
    const words = there === undefined ? [`there is none: ${-tokens.length} to ${tokens.length - 1}`] : ["here: ", h("code", null, ...tokenText(there))];
    replace(token, ...(tokens.length ? words : []));
    python.hidden = name.hidden = kind !== "=python";
    editor.placeholder = "for example x.split()[0]";
    value.placeholder = kind === "=regex" ? "for example (\\w+) and" : "for example Mary";
  };
  let touched = false; // until somebody chooses, the first of what there is is chosen
  view.follow(["features"], () => {
    const features: Array<{ name: string; description: string }> = view.model.get("features") ?? [];
    const chosen = ready.value;
    const made = features.map(({ name, description }) => h("option", { value: `+${name}`, title: description }, `same ${name}`));
    const written = Object.entries(WRITTEN).map(([kind, label]) => h("option", { value: kind }, label));
    const group = (label: string, options: HTMLOptionElement[]) => (options.length ? h("optgroup", { label }, ...options) : null);
    replace(ready, group("Ready-made", made), group("Write one", written));
    if (touched && [...ready.options].some((option) => option.value === chosen)) ready.value = chosen;
    update();
  });
  view.follow(["where"], () => replace(faults)); // it is about other inputs now
  view.follow(["tokens"], update);
  position.addEventListener("input", update);
  ready.addEventListener("change", () => {
    touched = true;
    replace(faults);
    update();
  });
  for (const input of [value, position, name, editor]) {
    input.addEventListener("keydown", (event) => {
      event.stopPropagation();
      if (input !== editor || (event as KeyboardEvent).key !== "Enter" || !((event as KeyboardEvent).ctrlKey || (event as KeyboardEvent).metaKey)) return;
      event.preventDefault(); // Enter alone is a new line, Tab goes on to the next control
      form.requestSubmit();
    });
  }
  const asked = (kind: string): Record<string, unknown> => {
    if (kind.startsWith("+")) return { kind: "ready", name: kind.slice(1) };
    if (kind === "=python") return { kind: "python", value: editor.value, name: name.value };
    return { kind: kind.slice(1), value: value.value, position: Number(position.value) };
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const kind = ready.value;
    if (add.disabled && kind === "=python") return; // Ctrl+Enter, pressed again
    const params = asked(kind);
    const text = kind === "=python" ? editor : value;
    disable(add, true);
    stop.hidden = kind !== "=python";
    const done = () => {
      disable(add, false);
      stop.hidden = true;
    };
    rpc.request("add", params).then(
      () => {
        done();
        // What is written in Python is often refined; of the rest the next one may be being typed already.
        if (kind !== "=python" && text.value === params.value) text.value = "";
        name.value = "";
        replace(faults);
      },
      (error) => {
        done();
        if (!stopped(error)) replace(faults, errorBox(errorText(error), () => replace(faults)));
      },
    );
  });
  return h("div", null, form, faults);
}

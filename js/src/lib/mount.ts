// The shell every widget is drawn in: its root element, its theme, and a readable box for its errors.
import { h } from "./dom.ts";
import { type Host, type Model, type RenderArgs, View } from "./model.ts";
import { Liveness, livenessNote } from "./liveness.ts";
import { followTheme } from "./theme.ts";

export interface ErrorText {
  message: string;
  hint?: string | null;
  type?: string;
}

export function errorBox(error: ErrorText, onClose?: () => void): HTMLElement {
  const box = h(
    "div",
    { class: "isn-error", role: "alert" },
    h("span", { class: "isn-error-mark", "aria-hidden": "true" }, "!"),
    h("div", { class: "isn-error-text" }, h("p", null, error.message), error.hint ? h("p", { class: "isn-error-hint" }, error.hint) : null),
  );
  if (onClose) {
    box.append(h("button", { type: "button", class: "isn-icon-button", "aria-label": "Dismiss this message", on: { click: onClose } }, "\u2715"));
  }
  return box;
}

export function errorText(error: unknown): ErrorText {
  if (error && typeof error === "object" && "message" in error) {
    const { message, hint, type } = error as ErrorText;
    return { message: String(message), hint: hint ?? null, type };
  }
  return { message: String(error) };
}

/** Hides the widget's static picture, which stands in another output of the notebook, for as long as the view lives. */
function withoutPicture(name: unknown): HTMLElement | null {
  if (typeof name !== "string" || !/^isn-picture-\w+$/.test(name)) return null;
  // The output around it goes too, with its prompt and margins; a browser that cannot select it skips that rule.
  const output = `.jp-OutputArea-child:has(> .jp-OutputArea-output > .${name})`;
  return h("style", null, `.${name} { display: none; } ${output} { display: none; }`);
}

/** An anywidget module: `draw` fills the root; whatever it throws is shown in place. */
export function widget(name: string, draw: (view: View) => void): { render(args: RenderArgs): () => void } {
  return {
    render({ model, el, host }: { model: Model; el: HTMLElement; host?: Host }) {
      const root = h("div", { class: `isn isn-${name}`, "data-lm-suppress-shortcuts": "true" });
      const faults = h("div", { class: "isn-faults" });
      const rule = withoutPicture(model.get("picture_class"));
      el.append(livenessNote(root), root, faults, ...(rule ? [rule] : []));
      // JupyterLab binds single keys to whatever has the focus (":focus"), so the root's attribute is not enough:
      // without one on the focused element itself, "b" would insert a cell.
      root.addEventListener("focusin", ({ target }) => (target as Element).setAttribute("data-lm-suppress-shortcuts", "true"));
      const report = (error: unknown) => {
        const text = errorText(error);
        const note = { message: `This part of the widget failed: ${text.message}`, hint: "Run the cell again to redraw it." };
        faults.replaceChildren(errorBox(note, () => faults.replaceChildren()));
        try {
          model.send({ kind: "fault", message: text.message, stack: error instanceof Error ? error.stack : undefined });
        } catch {
          // no kernel: the box above is all that can be done
        }
      };
      const view = new View({ model, el, host }, root, report);
      try {
        view.onClose(followTheme(root));
        view.line = new Liveness(view);
        draw(view);
      } catch (error) {
        report(error);
      }
      return () => {
        view.close();
        el.replaceChildren();
      };
    },
  };
}
